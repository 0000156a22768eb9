package heldar.footage;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.extension.ExtendWith;

/** Tests against the built server that FOOTAGE_BIN names. They are skipped where it names none: a user has only Java. */
@Target(ElementType.TYPE)
@Retention(RetentionPolicy.RUNTIME)
@EnabledIfEnvironmentVariable(named = "FOOTAGE_BIN", matches = ".+", disabledReason = "FOOTAGE_BIN names no server")
@ExtendWith(Servers.Extension.class)
@Timeout(value = 120, unit = TimeUnit.SECONDS)
@interface AgainstTheServer {}

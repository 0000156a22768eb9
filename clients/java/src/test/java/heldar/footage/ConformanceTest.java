package heldar.footage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorDetailsProto;
import heldar.footage.v1.JobFilter;
import heldar.footage.v1.JobKind;
import heldar.footage.v1.JobState;
import heldar.footage.v1.ListJobsRequest;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The cases that every client must see alike, of clients/conformance/cases.json, by the calls that the helper makes. */
@AgainstTheServer
class ConformanceTest {
  private static final Path TABLE = Path.of("../conformance/cases.json");
  private static final Set<String> DEFAULTS = Set.of("false", "\"\"", "0", "\"0\"", "[]", "{}", "null");
  private static final JsonFormat.TypeRegistry DETAILS =
      JsonFormat.TypeRegistry.newBuilder().add(ErrorDetailsProto.getDescriptor().getMessageTypes()).build();

  private JsonObject table;

  @TestFactory
  Stream<DynamicTest> everyClientSeesTheSame(Servers servers) throws IOException {
    table = JsonParser.parseString(Files.readString(TABLE)).getAsJsonObject();
    Map<String, Server> started = new HashMap<>();
    Map<String, Footage> clients = new HashMap<>();
    for (Map.Entry<String, JsonElement> entry : table.getAsJsonObject("servers").entrySet()) {
      Map<String, String> settings = new HashMap<>();
      entry.getValue().getAsJsonObject().asMap().forEach((name, value) -> settings.put(name, value.getAsString()));
      Server server = servers.start(entry.getKey(), settings);
      Footage footage = Footage.builder(server.address()).timeout(Duration.ofSeconds(60)).connect();
      awaitImport(footage);
      started.put(entry.getKey(), server);
      clients.put(entry.getKey(), footage);
    }
    return list(table.get("cases"))
        .map(JsonElement::getAsJsonObject)
        .map(
            test -> {
              String server = test.get("server").getAsString();
              return DynamicTest.dynamicTest(
                  test.get("name").getAsString(),
                  () -> run(list(test.get("steps")).toList(), clients.get(server), started.get(server)));
            })
        .onClose(() -> clients.values().forEach(Footage::close));
  }

  private static void awaitImport(Footage footage) {
    ListJobsRequest imported =
        ListJobsRequest.newBuilder()
            .setFilter(
                JobFilter.newBuilder()
                    .addKinds(JobKind.JOB_KIND_IMPORT)
                    .addStates(JobState.JOB_STATE_SUCCEEDED))
            .build();
    Servers.await("the footage is imported", () -> footage.jobs().listJobs(imported).getJobsCount() > 0);
  }

  private void run(List<JsonElement> steps, Footage footage, Server server) throws Exception {
    Map<String, String> saved = new HashMap<>(Map.of("site", server.folder().toString()));
    for (JsonElement step : steps) {
      run(filled(step, saved).getAsJsonObject(), footage, saved);
    }
  }

  private void run(JsonObject step, Footage footage, Map<String, String> saved) throws Exception {
    if (step.has("truncate")) {
      try (RandomAccessFile file = new RandomAccessFile(step.get("truncate").getAsString(), "rw")) {
        file.setLength(1);
      }
      return;
    }
    if (step.has("follow")) {
      follow(step, footage);
      return;
    }
    MethodDescriptor<Message, Message> method = method(step.get("method").getAsString());
    JsonElement request = step.has("requests") ? step.get("requests") : step.get("request");
    if (step.has("error")) {
      JsonObject expected = step.getAsJsonObject("error");
      assertError(expected, assertThrows(FootageException.class, () -> call(footage, method, request, null)));
      return;
    }
    JsonElement leaveAfter = step.has("stream") ? step.getAsJsonObject("stream").get("leaveAfter") : null;
    List<JsonElement> answers = call(footage, method, request, leaveAfter);
    if (step.has("stream")) {
      assertStream(step.getAsJsonObject("stream"), answers);
    } else {
      assertWithin(step.get("response"), answers.get(0), "response");
    }
    if (step.has("save")) {
      step.getAsJsonObject("save")
          .asMap()
          .forEach((name, path) -> saved.put(name, at(answers.get(0), path.getAsString())));
    }
  }

  /** Follows a job by the helper, and holds how it ended. */
  private void follow(JsonObject step, Footage footage) {
    RunningJob<Message> running = footage.follow(step.get("follow").getAsString());
    if (step.has("error")) {
      JobFailedException failed = assertThrows(JobFailedException.class, running::result);
      assertError(step.getAsJsonObject("error"), failed, "JobFailed");
      assertEquals(running.job(), failed.getJob());
    } else if (step.has("cancelled")) {
      assertEquals("CANCELLED", assertThrows(JobCancelledException.class, running::result).getReason());
    } else {
      running.result();
      List<JsonElement> expected = list(step.get("warnings")).toList();
      List<com.google.rpc.Status> warnings = running.job().getWarningsList();
      assertEquals(expected.size(), warnings.size(), warnings::toString);
      for (int number = 0; number < expected.size(); number++) {
        assertError(expected.get(number).getAsJsonObject(), FootageException.of(warnings.get(number)));
      }
    }
  }

  /** Makes a call of any shape and returns its messages in the JSON form of proto3. */
  private static List<JsonElement> call(
      Footage footage, MethodDescriptor<Message, Message> method, JsonElement request, JsonElement leaveAfter)
      throws InvalidProtocolBufferException {
    Calls calls = footage.calls();
    List<Message> answers = new ArrayList<>();
    switch (method.getType()) {
      case UNARY -> answers.add(calls.unary(method, parsed(method, request)));
      case CLIENT_STREAMING -> {
        List<Message> requests = new ArrayList<>();
        for (JsonElement item : request.getAsJsonArray()) {
          requests.add(parsed(method, item));
        }
        answers.add(calls.clientStream(method, requests));
      }
      default -> {
        try (Responses<Message> responses = calls.serverStream(method, parsed(method, request))) {
          for (Message response : responses) {
            answers.add(response);
            if (leaveAfter != null && answers.size() == leaveAfter.getAsInt()) {
              break;
            }
          }
        }
      }
    }
    List<JsonElement> printed = new ArrayList<>();
    for (Message answer : answers) {
      printed.add(JsonParser.parseString(JsonFormat.printer().usingTypeRegistry(DETAILS).print(answer)));
    }
    return printed;
  }

  private static Message parsed(MethodDescriptor<Message, Message> method, JsonElement json)
      throws InvalidProtocolBufferException {
    Message prototype = ((PrototypeMarshaller<Message>) method.getRequestMarshaller()).getMessagePrototype();
    Message.Builder builder = prototype.toBuilder();
    JsonFormat.parser().merge(json.toString(), builder);
    return builder.build();
  }

  @SuppressWarnings("unchecked") // Every method of the contract has messages on both sides.
  private static MethodDescriptor<Message, Message> method(String name) {
    return Contract.descriptors().stream()
        .filter(found -> found.getFullMethodName().equals(name))
        .map(found -> (MethodDescriptor<Message, Message>) found)
        .findFirst()
        .orElseThrow();
  }

  /** Replaces each ${name} by what was saved under the name. */
  private static JsonElement filled(JsonElement value, Map<String, String> saved) {
    if (value.isJsonPrimitive() && value.getAsJsonPrimitive().isString()) {
      String text = value.getAsString();
      for (Map.Entry<String, String> entry : saved.entrySet()) {
        text = text.replace("${" + entry.getKey() + "}", entry.getValue());
      }
      return new JsonPrimitive(text);
    }
    if (value.isJsonArray()) {
      JsonArray array = new JsonArray();
      value.getAsJsonArray().forEach(item -> array.add(filled(item, saved)));
      return array;
    }
    if (value.isJsonObject()) {
      JsonObject object = new JsonObject();
      value.getAsJsonObject().asMap().forEach((key, item) -> object.add(key, filled(item, saved)));
      return object;
    }
    return value;
  }

  /** Everything expected is found; a default may be absent, and what is not expected may be there. */
  private static void assertWithin(JsonElement expected, JsonElement found, String where) {
    if (found == null) {
      assertTrue(DEFAULTS.contains(expected.toString()), () -> where + " is absent, not " + expected);
    } else if (expected.isJsonObject()) {
      assertTrue(found.isJsonObject(), () -> where + ": " + found);
      expected
          .getAsJsonObject()
          .asMap()
          .forEach((key, value) -> assertWithin(value, found.getAsJsonObject().get(key), where + "." + key));
    } else if (expected.isJsonArray()) {
      assertTrue(found.isJsonArray(), () -> where + ": " + found);
      assertEquals(expected.getAsJsonArray().size(), found.getAsJsonArray().size(), () -> where + ": " + found);
      for (int number = 0; number < expected.getAsJsonArray().size(); number++) {
        String place = where + "[" + number + "]";
        assertWithin(expected.getAsJsonArray().get(number), found.getAsJsonArray().get(number), place);
      }
    } else {
      assertEquals(expected, found, where);
    }
  }

  private void assertError(JsonObject expected, FootageException error) {
    String code = expected.get("code").getAsString();
    assertError(expected, error, table.getAsJsonObject("families").get(code).getAsString());
  }

  private void assertError(JsonObject expected, FootageException error, String family) {
    assertEquals(expected.get("code").getAsString(), error.getCode().name());
    assertEquals(family + "Exception", error.getClass().getSimpleName());
    assertEquals(expected.get("reason").getAsString(), error.getReason());
    assertEquals(table.get("domain").getAsString(), error.getDomain());
    Set<String> details = new TreeSet<>(Set.of("ErrorInfo"));
    list(expected.get("details")).forEach(detail -> details.add(detail.getAsString()));
    assertEquals(
        details,
        error.getDetails().stream()
            .map(detail -> detail.getDescriptorForType().getName())
            .collect(Collectors.toCollection(TreeSet::new)));
    assertFalse(error.getMessage().isEmpty());
    if (expected.has("message")) {
      assertEquals(expected.get("message").getAsString(), error.getMessage());
    }
    if (expected.has("fieldViolations")) {
      assertEquals(
          list(expected.get("fieldViolations")).map(JsonElement::getAsString).toList(),
          error.getFieldViolations().stream().map(FootageException.FieldViolation::field).toList());
      assertTrue(error.getFieldViolations().stream().noneMatch(violation -> violation.description().isEmpty()));
    }
    if (expected.has("resource")) {
      JsonObject resource = expected.getAsJsonObject("resource");
      assertEquals(
          new FootageException.Resource(resource.get("type").getAsString(), resource.get("name").getAsString()),
          error.getResource());
    }
    if (expected.has("retryAfter")) {
      assertNotNull(error.getRetryAfter());
      String seconds = expected.get("retryAfter").getAsString().replace("s", "");
      assertEquals(Math.round(Double.parseDouble(seconds) * 1000), error.getRetryAfter().toMillis());
    }
    Map<String, String> metadata = new HashMap<>();
    if (expected.has("metadata")) {
      expected.getAsJsonObject("metadata").asMap().forEach((key, value) -> metadata.put(key, value.getAsString()));
    }
    assertEquals(metadata, error.getMetadata());
  }

  private static void assertStream(JsonObject expected, List<JsonElement> messages) throws Exception {
    if (!expected.get("messages").isJsonNull()) {
      JsonArray all = new JsonArray();
      messages.forEach(all::add);
      assertWithin(expected.get("messages"), all, "messages");
    }
    if (expected.has("first")) {
      assertWithin(expected.get("first"), messages.get(0), "first");
    }
    if (expected.has("last")) {
      assertWithin(expected.get("last"), messages.get(messages.size() - 1), "last");
    }
    MessageDigest hash = MessageDigest.getInstance("SHA-256");
    long sizeBytes = 0;
    for (JsonElement message : messages) {
      if (message.getAsJsonObject().has("data")) {
        byte[] data = Base64.getDecoder().decode(message.getAsJsonObject().get("data").getAsString());
        hash.update(data);
        sizeBytes += data.length;
      }
    }
    if (expected.has("bytes")) {
      assertEquals(Long.parseLong(expected.get("bytes").getAsString()), sizeBytes);
    }
    if (expected.has("sha256")) {
      assertEquals(expected.get("sha256").getAsString(), HexFormat.of().formatHex(hash.digest()));
    }
  }

  private static String at(JsonElement message, String path) {
    JsonElement found = message;
    for (String key : path.split("\\.")) {
      found = found.getAsJsonObject().get(key);
    }
    return found.getAsString();
  }

  private static Stream<JsonElement> list(JsonElement array) {
    return StreamSupport.stream(array.getAsJsonArray().spliterator(), false);
  }
}

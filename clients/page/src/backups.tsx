/** Backups and their health: what somebody has to look at, where footage goes, what goes there and when, the runs. */
import { useState } from "preact/hooks";
import { fromStatus } from "@heldar/footage/web";
import { BackupAlertKind, type Destination, type Job, JobKind, type Policy, type TestDestinationResponse } from "@heldar/footage/proto";
import { JobCard, sorted } from "./jobs.js";
import { useBeat, usePages } from "./lists.js";
import { Action, Badge, Command, Copy, Empty, ErrorNote, Fact, Time } from "./parts.js";
import { alerts, footage, jobs, lastEnded } from "./server.js";
import { lengthText, toMs } from "./times.js";
import { bytes, count, pauseWords } from "./words.js";

const runsShown = 10;

const alertAdvice: Record<BackupAlertKind, string> = {
  [BackupAlertKind.UNSPECIFIED]: "",
  [BackupAlertKind.POLICY_OVERDUE]: "The last run below says why. Put that right, then run the policy.",
  [BackupAlertKind.DESTINATION_PAUSED]: "Put right what the destination says, then test it: a test that passes ends the pause.",
  [BackupAlertKind.FOOTAGE_AT_RISK]: "Run the policy now, and let it run more often or send more at a time.",
};

export function Backups() {
  const ended = lastEnded.value;
  // The alerts come by themselves; what stands behind them is read with them.
  const whenever = [ended?.kind === JobKind.BACKUP && ended.id, alerts.value.length, useBeat(15_000)];
  const destinations = usePages<Destination>(async (pageToken, signal) => {
    const { destinations: rows, nextPageToken } = await footage.backups.listDestinations({ pageSize: 1000, pageToken }, { signal });
    return { rows, nextPageToken };
  }, whenever);
  const policies = usePages<Policy>(async (pageToken, signal) => {
    const { policies: rows, nextPageToken } = await footage.backups.listPolicies({ pageSize: 1000, pageToken }, { signal });
    return { rows, nextPageToken };
  }, whenever);
  const again = (): void => {
    destinations.again();
    policies.again();
  };
  const runs = sorted(jobs.value.values()).filter((job) => job.kind === JobKind.BACKUP || job.kind === JobKind.RESTORE);
  const nameOf = (id: string): string => destinations.value?.find((each) => each.id === id)?.displayName || id;
  const aboutRun = ({ policyId, destinationId }: Job): string => {
    const policy = policies.value?.find((each) => each.id === policyId)?.displayName || policyId;
    return [policy, nameOf(destinationId)].filter(Boolean).join(" → ");
  };
  return (
    <>
      <header class="view-head">
        <h1>Backups</h1>
        {destinations.value && destinations.value.length > 0 && (
          <Badge mood={alerts.value.length > 0 ? "bad" : "good"}>{alerts.value.length > 0 ? count(alerts.value.length, "alert") : "healthy"}</Badge>
        )}
      </header>
      {alerts.value.map((alert) => (
        <div class="note bad" role="alert" key={`${alert.kind} ${alert.policyId} ${alert.destinationId}`}>
          <p>
            <strong>{alert.message}</strong>
          </p>
          <p>
            {alertAdvice[alert.kind]} <span class="quiet">Since <Time at={alert.sinceTime} />.</span>
          </p>
        </div>
      ))}
      <ErrorNote error={destinations.error ?? policies.error} again={again} />
      {destinations.value?.length === 0 && <NoDestination />}
      {destinations.value && destinations.value.length > 0 && (
        <section aria-labelledby="destinations">
          <h2 id="destinations">Destinations</h2>
          <ul class="cards">
            {destinations.value.map((destination) => (
              <DestinationCard key={destination.id} destination={destination} again={again} />
            ))}
          </ul>
        </section>
      )}
      {policies.value && destinations.value && destinations.value.length > 0 && (
        <section aria-labelledby="policies">
          <h2 id="policies">Policies</h2>
          {policies.value.length === 0 && <NoPolicy destination={destinations.value[0]!} />}
          <ul class="cards">
            {policies.value.map((policy) => (
              <PolicyCard key={policy.id} policy={policy} destination={nameOf(policy.destinationId)} again={again} />
            ))}
          </ul>
        </section>
      )}
      {runs.length > 0 && (
        <section aria-labelledby="runs">
          <h2 id="runs">Runs</h2>
          <ul class="cards">
            {runs.slice(0, runsShown).map((job) => (
              <JobCard key={job.id} job={job} about={aboutRun(job)} />
            ))}
          </ul>
          {runs.length > runsShown && (
            <p class="more">
              <a href="#/jobs">All jobs</a>
            </p>
          )}
        </section>
      )}
    </>
  );
}

function grpcurl(method: string, request: object): string {
  return `grpcurl -plaintext -d '${JSON.stringify(request)}' \\\n  ${location.host} heldar.footage.v1.BackupService/${method}`;
}

function NoDestination() {
  return (
    <Empty title="Footage is not backed up yet">
      <p>Say where it goes, on the command line, so that no secret passes through a browser:</p>
      <Command text={grpcurl("CreateDestination", { destination: { display_name: "NAS", local: { path: "/mnt/nas/footage" } } })} />
      <p class="quiet">SFTP, FTP, S3 and remotes of rclone are other kinds. The destination shows here at once.</p>
    </Empty>
  );
}

function NoPolicy({ destination }: { destination: Destination }) {
  const policy = { display_name: "nightly", destination_id: destination.id, cron: { expression: "30 2 * * *", time_zone: "UTC" }, lookback: "604800s" };
  return (
    <Empty title="Nothing is sent there yet">
      <p>Say what is sent, and when:</p>
      <Command text={grpcurl("CreatePolicy", { policy })} />
    </Empty>
  );
}

/** What kind of place it is, and where. */
function placeOf({ settings }: Destination): string {
  switch (settings.case) {
    case "local":
      return `folder ${settings.value.path}`;
    case "sftp":
      return `SFTP ${settings.value.user}@${settings.value.host}:${settings.value.path || "~"}`;
    case "ftp":
      return `FTP ${settings.value.user}@${settings.value.host}:${settings.value.path || "~"}`;
    case "s3":
      return `S3 ${[settings.value.endpoint || settings.value.region, settings.value.bucket, settings.value.prefix].filter(Boolean).join("/")}`;
    case "rclone":
      return `rclone ${settings.value.remote}:${settings.value.path}`;
    default:
      return "";
  }
}

function DestinationCard({ destination, again }: { destination: Destination; again: () => void }) {
  const [error, setError] = useState<unknown>();
  const [tried, setTried] = useState<TestDestinationResponse>();
  const { status } = destination;
  const name = destination.displayName || destination.id;
  const test = async (): Promise<void> => {
    setTried(undefined);
    const subject = { case: "destinationId", value: destination.id } as const;
    setTried(await footage.backups.testDestination({ subject }, { timeoutMs: 45_000 }));
    again();
  };
  return (
    <li class="card">
      <div class="card-what">
        <h3>
          {name}{" "}
          {destination.enabled === false ? (
            <Badge mood="plain">disabled</Badge>
          ) : status?.pause ? (
            <Badge mood="bad">paused: {pauseWords[status.pause.reason]}</Badge>
          ) : (
            <Badge mood="good">ready</Badge>
          )}
        </h3>
        <p>
          <code>{placeOf(destination)}</code>
        </p>
        {status?.pause && (
          <div class="note bad">
            <p>
              <strong>{status.pause.message}</strong> Paused <Time at={status.pause.startTime} relative />.
            </p>
            <p>Put that right, then test the destination: a test that passes ends the pause.</p>
          </div>
        )}
        <dl class="figures">
          <Fact name="Stored">
            {bytes(status?.storedBytes ?? 0n)} in {count(status?.objectCount ?? 0n, "file")}
          </Fact>
          <Fact name="Free">{status?.freeBytes === undefined ? <span class="quiet">not known</span> : bytes(status.freeBytes)}</Fact>
          <Fact name="Last sent">
            <Time at={status?.lastSuccessTime} relative />
          </Fact>
        </dl>
        <div aria-live="polite">{tried && <Tried tried={tried} />}</div>
      </div>
      <div class="actions">
        <Action label="Test" of={name} run={test} onError={setError} />
      </div>
      <ErrorNote error={error} />
    </li>
  );
}

function Tried({ tried }: { tried: TestDestinationResponse }) {
  const steps: [string, boolean][] = [
    ["listed", tried.listed],
    ["written", tried.written],
    ["read back", tried.readBack],
    ["deleted", tried.deleted],
  ];
  return (
    <div class={tried.ok ? "note good" : "note bad"}>
      <p>
        <strong>{tried.ok ? "It works." : "It does not work."}</strong> {tried.latency && <>Tried in {lengthText(toMs(tried.latency))}.</>}
        {tried.freeBytes !== undefined && <> {bytes(tried.freeBytes)} free{tried.totalBytes !== undefined && <> of {bytes(tried.totalBytes)}</>}.</>}
      </p>
      <p class="badges">
        {steps.map(([step, worked]) => (
          <Badge key={step} mood={worked ? "good" : "bad"}>
            {worked ? "✓" : "✗"} {step}
          </Badge>
        ))}
      </p>
      {tried.error && <ErrorNote error={fromStatus(tried.error)} />}
      {tried.hostKeys.map((key) => (
        <p key={key}>
          Host key <code>{key}</code> <Copy text={key} of="the host key" />
        </p>
      ))}
    </div>
  );
}

function PolicyCard({ policy, destination, again }: { policy: Policy; destination: string; again: () => void }) {
  const [error, setError] = useState<unknown>();
  const { status } = policy;
  const name = policy.displayName || policy.id;
  const run = async (): Promise<void> => {
    await footage.backups.runPolicy({ policyId: policy.id, createdBy: "page" });
    again();
  };
  return (
    <li class="card">
      <div class="card-what">
        <h3>
          {name}{" "}
          {policy.enabled === false ? (
            <Badge mood="plain">disabled</Badge>
          ) : status?.overdueSinceTime ? (
            <Badge mood="bad">overdue</Badge>
          ) : (
            <Badge mood="good">on time</Badge>
          )}
        </h3>
        <p>
          {policy.cameraIds.length === 0 ? "All cameras" : policy.cameraIds.join(", ")}
          {policy.evidenceOnly && ", only evidence,"} to {destination}, {scheduleOf(policy)}
        </p>
        <dl class="figures">
          <Fact name="Next run">{status?.nextRunTime ? <Time at={status.nextRunTime} relative /> : <span class="quiet">none</span>}</Fact>
          <Fact name="Last run">
            <Time at={status?.lastRunTime} relative />
          </Fact>
          <Fact name="Last complete">
            <Time at={status?.lastSuccessTime} relative />
          </Fact>
          {status?.overdueSinceTime && (
            <Fact name="Overdue since">
              <Time at={status.overdueSinceTime} />
            </Fact>
          )}
          {status !== undefined && status.filesUnsent > 0n && (
            <Fact name="Not sent">
              {count(status.filesUnsent, "file")}, {bytes(status.bytesUnsent)}
            </Fact>
          )}
          {status !== undefined && status.filesAtRisk > 0n && (
            <Fact name="At risk">
              <Badge mood="bad">{count(status.filesAtRisk, "file")}</Badge> deleted by the recorder before the next run
            </Fact>
          )}
        </dl>
      </div>
      <div class="actions">
        <Action label="Run now" of={name} run={run} onError={setError} />
      </div>
      <ErrorNote error={error} />
    </li>
  );
}

function scheduleOf({ schedule, lookback, transferHours }: Policy): string {
  const said: string[] = [];
  if (schedule.case === "cron") said.push(`at ${schedule.value.expression} (${schedule.value.timeZone})`);
  else if (schedule.case === "interval") said.push(`every ${lengthText(toMs(schedule.value))}`);
  else said.push("every day");
  if (lookback && toMs(lookback) > 0) said.push(`the last ${lengthText(toMs(lookback))}`);
  if (transferHours?.start && transferHours.end) {
    const clock = ({ hour, minute }: { hour: number; minute: number }): string => `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`;
    said.push(`between ${clock(transferHours.start)} and ${clock(transferHours.end)} (${transferHours.timeZone})`);
  }
  return said.join(", ");
}

/** Commands whose output has been closed: each exits quietly. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { TraceItem } from "../operator/trace-protocol.ts";
import { serve } from "../rpc/server.ts";
import { ReplyStream } from "../rpc/stream.ts";

const bin = (name: string) => fileURLToPath(new URL(`../bin/${name}`, import.meta.url));

let folder: string;
let server: Server;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pipe-"));
  execFileSync("mkfifo", [join(folder, "gone")]);
  server = await serve({
    path: join(folder, "agent.sock"),
    ...{ maxRequestBytes: 10_000, maxConnections: 8, idleTimeoutMs: 60_000 },
    handle: async (request) => ANSWERS[(request as { op: string }).op],
  });
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

const ROW = { name: "t", conditions: [], counters: {}, attachedTo: [], control: null };
const FINDING = { severity: "error", object: "o", finding: "f", remedy: "r" };
const ENDED: TraceItem = { shows: "ended", why: "over" };
const ANSWERS: Readonly<Record<string, unknown>> = {
  tunnels: [
    {
      ...{ ...ROW, encapsulation: "UDP", local: "a", remote: "b", datapath: "Kernel" },
      traffic: { rxPackets: 0, txPackets: 0 },
    },
  ],
  sessions: [{ ...ROW, tunnel: "t", mode: "Direct", fastPath: false }],
  attachments: [],
  dump: [],
  doctor: {
    ...{ findings: [FINDING], tunnels: 0, sessions: 0, rxPackets: 0, txPackets: 0, seconds: 0 },
    captured: { tunnels: 0, datagrams: 0, problem: null },
  },
  trace: new ReplyStream(async ({ send }) => {
    for (let count = 0; count < 100; count++) send(ENDED);
    return null;
  }),
};

/** Runs a command with a closed stdout or stderr. @returns the output of the other stream, and the exit status */
function run(closed: "stdout" | "stderr", command: readonly string[]) {
  const redirected = closed === "stdout" ? `"$@" 2>"$0/other"` : `"$@" 3>&1 2>&3 >"$0/other"`;
  const script = `{ cat "$0/gone"; ${redirected}; echo $? >"$0/status"; } |
    { exec <&-; echo >"$0/gone"; }; cat "$0/other" "$0/status"`;
  return new Promise<string>((resolve) => {
    execFile("sh", ["-c", script, folder, ...command], (_, stdout) => resolve(stdout));
  });
}

const L2TPCTL = ["tunnels", "sessions", "attachments", "dump", "doctor --seconds 0", "trace t"];
const PROGRAMS = ["l2tpctl", "l2tp-agent", "l2tp-controller", "l2tp-install", "l2tp-datapath"];

it.each(L2TPCTL.flatMap((command) => [command, `-o wide ${command}`, `-o json ${command}`]))(
  "l2tpctl %s",
  async (command) => {
    const socket = ["--socket", join(folder, "agent.sock")];
    const said = await run("stdout", [bin("l2tpctl"), ...socket, ...command.split(" ")]);
    // Status 1: the doctor found an error before it printed.
    expect(said).toMatch(/^[01]\n$/);
  },
);

it.each(PROGRAMS)("%s --help, and --version", async (program) => {
  expect(await run("stdout", [bin(program), "--help"])).toBe("0\n");
  expect(await run("stdout", [bin(program), "--version"])).toBe("0\n");
});

it.each([
  ...PROGRAMS.map((program) => `${program} --bogus`),
  ...["l2tpctl", "l2tpctl trace", "l2tpctl --socket /nowhere tunnels", "l2tp-agent"],
])("%s exits quietly if stderr is closed", async (command) => {
  const [program = "", ...args] = command.split(" ");
  expect(await run("stderr", [bin(program), ...args])).toMatch(/^[12]\n$/);
});

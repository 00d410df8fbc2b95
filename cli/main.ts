/** l2tpctl: shows the tunnels and sessions of this node, and diagnoses them. */
import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import {
  type AgentRequest,
  type AgentResults,
  DEFAULT_SOCKET,
  FORMS,
  MAX_REPLY_BYTES,
} from "../operator/agent-protocol.ts";
import { TRACE_KINDS, type TraceItem, type TraceKind } from "../operator/trace-protocol.ts";
import manifest from "../package.json" with { type: "json" };
import { RpcClient } from "../rpc/client.ts";
import { ConnectionError, RemoteError } from "../rpc/errors.ts";
import { terminalJson, terminalLines } from "./terminal-text.ts";
import {
  ATTACHMENTS,
  DUMP,
  render,
  renderFindings,
  SESSION_VIEW,
  TUNNEL_VIEW,
  type View,
} from "./views.ts";

const WRONG_USAGE = 2;
const CONNECT_TIMEOUT_MS = 5000;
const REPLY_TIMEOUT_MS = 90_000;

interface Options {
  socket: string;
  output: "table" | "wide" | "json";
}

// The reader of a pipe may stop early: `l2tpctl decode FILE | head`. That is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    fail(error);
  });
}

const program = new Command("l2tpctl")
  .description("Shows the L2TPv3 tunnels and sessions of this node.")
  .version(manifest.version)
  .option("--socket <path>", "the agent's socket", DEFAULT_SOCKET)
  .addOption(
    new Option("-o, --output <form>", "output format")
      .choices(["table", "wide", "json"])
      .default("table"),
  )
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("(see l2tpctl --help)");

const list = <O extends "tunnels" | "sessions" | "attachments" | "dump">(
  op: O,
  description: string,
  view: View<AgentResults[O][number]>,
) =>
  program
    .command(op)
    .description(description)
    .action(async () => {
      const rows = (await ask({ op })) as AgentResults[O];
      const { output } = program.opts<Options>();
      print(output === "json" ? rows : render(view, rows, output === "wide"));
    });

list("tunnels", "tunnels and their state", TUNNEL_VIEW);
list("sessions", "sessions, their pods and counters", SESSION_VIEW);
list("attachments", "pods, their interfaces and sessions", ATTACHMENTS);
list("dump", "all L2TP tunnels and sessions of the node's datapaths, including foreign ones", DUMP);
program
  .command("doctor")
  .description("diagnose tunnels and sessions; exit status 1 on errors")
  .option("--seconds <n>", "how long to watch the counters", seconds, 2)
  .action(async (options: { seconds: number }) => {
    const { output } = program.opts<Options>();
    if (output !== "json" && process.stderr.isTTY) {
      process.stderr.write(`Watching the counters for ${options.seconds} s …\n`);
    }
    const examination = (await ask({ op: "doctor", ...options })) as AgentResults["doctor"];
    print(output === "json" ? examination : renderFindings(examination));
    if (examination.findings.some(({ severity }) => severity === "error")) process.exitCode = 1;
  });

program
  .command("trace")
  .argument("<target>", "a tunnel, or NAMESPACE/SESSION", target)
  .summary("print the messages and frames of a tunnel or session live")
  .description(
    "Prints what a tunnel or session sends and receives, until Ctrl-C. Without an option: control messages, or frame headers for a static tunnel, which has no control messages.",
  )
  .option("--control", "control messages, without secrets, cookies and nonces")
  .option("--sequence", "decisions about received frames by their sequence numbers")
  .option("--data", "frame headers; a tunnel's trace includes frames with an unknown session ID")
  .addHelpText(
    "after",
    "\nEach second prints about fifty lines of each kind, and the number of omitted items.\nExit status: 0 if Ctrl-C, a closed output or the deletion of the object ends the trace; 1 if the node has\nno such object; 2 if the arguments are wrong or the agent does not answer.",
  )
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : WRONG_USAGE))
  .action(trace);

program
  .command("decode")
  .argument("<capture>", "a capture by tcpdump or Wireshark (pcap, pcapng); - reads stdin")
  .description("decode the L2TP control messages of a capture; exit status 1 if it has none")
  .option(
    "--secret-file <path>",
    "file with the shared secret, to check digests and decode hidden AVPs",
  )
  .action(decode);

await program.parseAsync();

async function trace(target: string, flags: Partial<Record<TraceKind, boolean>>): Promise<void> {
  const { TraceView } = await import("./trace-view.ts");
  const { socket, output } = program.opts<Options>();
  const isJson = output === "json";
  const view = new TraceView(target);
  const kinds = TRACE_KINDS.filter((kind) => flags[kind]);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(0));
  try {
    const client = await RpcClient.connect(socket, MAX_REPLY_BYTES, CONNECT_TIMEOUT_MS);
    await client.stream({ op: "trace", target, kinds }, REPLY_TIMEOUT_MS, (received) => {
      const item = received as TraceItem;
      if (isJson) process.stdout.write(`${terminalJson(JSON.stringify(item))}\n`);
      else if (item.shows !== "begun") print(view.render(item));
      else if (process.stderr.isTTY) process.stderr.write(`${view.render(item)}\n`);
    });
    client.close();
  } catch (error) {
    if (!(error instanceof RemoteError)) fail(error);
    const remedy = error.remedy === undefined ? "" : `; ${error.remedy}`;
    process.stderr.write(`l2tpctl: ${error.message}${remedy}\n`);
    process.exit(1);
  }
}

async function decode(path: string, { secretFile }: { secretFile?: string }): Promise<void> {
  const { decodeCapture, renderDatagram } = await import("./capture/decode.ts");
  const secret = secretFile === undefined ? null : readSecret(secretFile);
  try {
    const file = readFileSync(path === "-" ? 0 : path);
    const datagrams = decodeCapture(Uint8Array.from(file), secret);
    let count = 0;
    if (program.opts<Options>().output === "json") {
      const all = [...datagrams];
      count = all.length;
      print(all);
    } else {
      for (const datagram of datagrams) {
        count++;
        print(renderDatagram(datagram));
      }
    }
    if (count > 0) return;
    process.stderr.write(`l2tpctl: ${path}: no L2TP control messages found\n`);
    process.exitCode = 1;
  } catch (error) {
    process.stderr.write(`l2tpctl: ${path}: ${(error as Error).message}\n`);
    process.exitCode = 2;
  }
}

/** Returns the file's content without its last line break; ends the process if it cannot be read. */
function readSecret(path: string): Uint8Array<ArrayBuffer> {
  try {
    return new TextEncoder().encode(readFileSync(path, "utf8").replace(/\r?\n$/, ""));
  } catch (error) {
    process.stderr.write(`l2tpctl: --secret-file: ${(error as Error).message}\n`);
    process.exit(WRONG_USAGE);
  }
}

function target(text: string): string {
  const form = text.includes("/") ? FORMS.session : FORMS.tunnel;
  if (!form.test(text)) throw new InvalidArgumentError("Use TUNNEL or NAMESPACE/SESSION.");
  return text;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 60)) throw new InvalidArgumentError("Use 0 to 60 seconds.");
  return value;
}

async function ask(request: AgentRequest): Promise<unknown> {
  const { socket } = program.opts<Options>();
  try {
    const client = await RpcClient.connect(socket, MAX_REPLY_BYTES, CONNECT_TIMEOUT_MS);
    const result = await client.request(request, REPLY_TIMEOUT_MS);
    client.close();
    return result;
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): never {
  const hint = error instanceof ConnectionError ? hintFor(error) : "";
  process.stderr.write(`l2tpctl: ${(error as Error).message}${hint}\n`);
  process.exit(2);
}

function hintFor({ code }: ConnectionError): string {
  if (code === "EACCES" || code === "EPERM") return "; run l2tpctl as root";
  return "; check that the agent runs on this node, or set --socket";
}

function print(value: unknown): void {
  const text =
    typeof value === "string" ? terminalLines(value) : terminalJson(JSON.stringify(value, null, 2));
  process.stdout.write(`${text}\n`);
}

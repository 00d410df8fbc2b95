/** l2tpctl: what the agent of this node has programmed, and what is wrong with it. */
import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import {
  type AgentRequest,
  type AgentResults,
  DEFAULT_SOCKET,
  MAX_REPLY_BYTES,
} from "../operator/agent-protocol.ts";
import manifest from "../package.json" with { type: "json" };
import { RpcClient } from "../rpc/client.ts";
import { ConnectionError } from "../rpc/errors.ts";
import {
  ATTACHMENTS,
  DUMP,
  render,
  renderFindings,
  SESSION_VIEW,
  TUNNEL_VIEW,
  type View,
} from "./views.ts";

const CONNECT_TIMEOUT_MS = 5000;
const REPLY_TIMEOUT_MS = 90_000;

interface Options {
  socket: string;
  output: "table" | "wide" | "json";
}

// A reader that stops has seen enough: `l2tpctl decode FILE | head`.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit();
    throw error;
  });
}

const program = new Command("l2tpctl")
  .description("Shows the L2TPv3 pseudowires of this node.")
  .version(manifest.version)
  .option("--socket <path>", "the agent's socket", DEFAULT_SOCKET)
  .addOption(
    new Option("-o, --output <form>", "how to print")
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

list("tunnels", "the tunnels, and whether they are up", TUNNEL_VIEW);
list("sessions", "the sessions, their pods and their counters", SESSION_VIEW);
list("attachments", "which pod has which session at which interface", ATTACHMENTS);
list("dump", "all L2TP of this node's data planes, ours or not", DUMP);
program
  .command("doctor")
  .description("why a pseudowire does not pass frames; status 1 where something is wrong")
  .option("--seconds <n>", "for how long to watch the counters", seconds, 2)
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
  .command("decode")
  .argument("<capture>", "a file of tcpdump or wireshark (pcap, pcapng); - reads from a pipe")
  .description("the L2TPv3 control messages of a capture, in words; status 1 where there is none")
  .option(
    "--secret-file <path>",
    "the shared secret, in a file: checks who has signed, and reads what is hidden",
  )
  .action(decode);

await program.parseAsync();

async function decode(path: string, { secretFile }: { secretFile?: string }): Promise<void> {
  const { decodeCapture, renderDatagram } = await import("./capture/decode.ts");
  try {
    const secret = secretFile === undefined ? null : readSecret(secretFile);
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
    process.stderr.write(`l2tpctl: ${path}: no L2TPv3 control message is in it\n`);
    process.exitCode = 1;
  } catch (error) {
    process.stderr.write(`l2tpctl: ${path}: ${(error as Error).message}\n`);
    process.exitCode = 2;
  }
}

/** As it stands there, but for a line's end. */
function readSecret(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(readFileSync(path, "utf8").replace(/\r?\n$/, ""));
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 60)) throw new InvalidArgumentError("0 to 60 seconds.");
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
    const hint = error instanceof ConnectionError ? hintFor(error) : "";
    process.stderr.write(`l2tpctl: ${(error as Error).message}${hint}\n`);
    process.exit(2);
  }
}

function hintFor({ code }: ConnectionError): string {
  if (code === "EACCES" || code === "EPERM") return "; only root may ask the agent";
  return "; is the agent running on this node? (--socket names its socket)";
}

function print(value: unknown): void {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  process.stdout.write(`${text}\n`);
}

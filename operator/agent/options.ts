/** The agent's command line. */
import { Command, InvalidArgumentError, Option } from "commander";
import { apiNames } from "../../datapath/registry/datapaths.ts";
import manifest from "../../package.json" with { type: "json" };
import { DEFAULT_SOCKET } from "../agent-protocol.ts";
import type { AttachStep } from "./attach.ts";

export interface Options {
  manifests?: string;
  node?: string;
  stateDir: string;
  socket: string;
  secrets?: string;
  /** "auto", or a value of spec.datapath in small letters. */
  datapath: string;
  datapathSocket?: string;
  datapathExternal: boolean;
  kubeconfig?: string;
  listen?: string;
  daemonset?: string;
  marker: string;
  metricsSessions: number;
  secretsRefresh: number;
  resync: number;
  logLevel: string;
  teardown: boolean;
  exitAt?: AttachStep;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0.1 && value <= 3600)) throw new InvalidArgumentError("0.1 to 3600 seconds.");
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError("A whole number.");
  return value;
}

/** Ends the process with a hint where the arguments are not right. */
export function readOptions(): Options {
  return new Command("l2tp-agent")
    .description(
      "Makes a node's L2TPv3 tunnels, sessions and pod interfaces what the objects say: those of a folder, or the cluster's.",
    )
    .version(manifest.version)
    .option(
      "--manifests <dir>",
      "the folder with L2tpTunnel and L2tpSession YAML; without it, the cluster has them",
    )
    .option("--kubeconfig <file>", "how to reach the API server (default: as a pod of the cluster)")
    .option("--node <name>", "this node's name, as in spec.nodeName of its tunnels")
    .option("--state-dir <dir>", "attachments and status", "/var/lib/l2tp-cni")
    .option("--socket <path>", "where CNI and l2tpctl find the agent", DEFAULT_SOCKET)
    .option("--secrets <dir>", "files NAMESPACE/NAME/KEY, mode 0600 (default: MANIFESTS/secrets)")
    .addOption(
      new Option(
        "--datapath <kind>",
        "who moves the frames of tunnels that leave it open; auto: the kernel where it can",
      )
        .choices(["auto", ...Array.from(apiNames, (name) => name.toLowerCase())])
        .default("auto"),
    )
    .option("--datapath-socket <path>", "the datapath's control socket (default: beside --socket)")
    .option("--datapath-external", "never start the datapath: another container runs it", false)
    .option("--daemonset <namespace/name>", "whose end means: take all of ours off the node")
    .option("--marker <name>", "the ConfigMap beside it that tells of the end", "l2tp-cni-release")
    .option("--listen <address>", "where /metrics, /healthz and /readyz are, as in :9402")
    .option("--metrics-sessions <n>", "sessions with metrics of their own", count, 1000)
    .option("--secrets-refresh <seconds>", "between two looks at a cluster's Secrets", seconds, 60)
    .option("--resync <seconds>", "between two periodic passes", seconds, 5)
    .addOption(
      new Option("--log-level <level>", "least level to log")
        .choices(["trace", "debug", "info", "warn", "error"])
        .default("info"),
    )
    .option(
      "--teardown",
      "take all of ours off the node, end the datapath process, and exit",
      false,
    )
    .addOption(new Option("--exit-at <step>", "end at this step of an attachment").hideHelp())
    .addHelpText(
      "after",
      "\nExamples:\n  l2tp-agent --manifests /etc/l2tp-cni --node edge-1\n  l2tp-agent --kubeconfig admin.conf --node worker-1",
    )
    .showHelpAfterError("(see l2tp-agent --help)")
    .parse()
    .opts<Options>();
}

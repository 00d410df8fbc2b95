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

/** Returns the parsed arguments. Exits with a hint if they are wrong. */
export function readOptions(): Options {
  return new Command("l2tp-agent")
    .description(
      "Programs this node's L2TPv3 tunnels, sessions and pod interfaces from L2tpTunnel and L2tpSession objects.",
    )
    .version(manifest.version)
    .option(
      "--manifests <dir>",
      "folder with L2tpTunnel and L2tpSession YAML; omit to use the API server",
    )
    .option(
      "--kubeconfig <file>",
      "kubeconfig of the API server (default: KUBECONFIG, then ~/.kube/config, then the pod's service account)",
    )
    .option("--node <name>", "name of this node, as in spec.nodeName of its tunnels")
    .option("--state-dir <dir>", "folder for attachments and status", "/var/lib/l2tp-cni")
    .option("--socket <path>", "agent socket for the CNI plugin and l2tpctl", DEFAULT_SOCKET)
    .option("--secrets <dir>", "files NAMESPACE/NAME/KEY, mode 0600 (default: MANIFESTS/secrets)")
    .addOption(
      new Option(
        "--datapath <kind>",
        "default datapath for tunnels with datapath: Auto; auto prefers the kernel",
      )
        .choices(["auto", ...Array.from(apiNames, (name) => name.toLowerCase())])
        .default("auto"),
    )
    .option("--datapath-socket <path>", "socket of the datapath process (default: beside --socket)")
    .option(
      "--datapath-external",
      "do not start the datapath process: another container runs it",
      false,
    )
    .option(
      "--daemonset <namespace/name>",
      "DaemonSet of this agent; if deleted at shutdown, clean up the node",
    )
    .option(
      "--marker <name>",
      "ConfigMap that marks the release as being uninstalled",
      "l2tp-cni-release",
    )
    .option("--listen <address>", "address of /metrics, /healthz and /readyz, such as :9402")
    .option(
      "--metrics-sessions <n>",
      "maximum number of sessions with own metric series",
      count,
      1000,
    )
    .option("--secrets-refresh <seconds>", "interval for re-reading Secrets", seconds, 60)
    .option("--resync <seconds>", "interval of periodic reconciles", seconds, 5)
    .addOption(
      new Option("--log-level <level>", "minimum level to log")
        .choices(["trace", "debug", "info", "warn", "error"])
        .default("info"),
    )
    .option(
      "--teardown",
      "delete everything l2tp-cni created on this node, stop the datapath process, exit",
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

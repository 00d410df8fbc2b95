/** Findings from conditions, with a remedy for each. */
import { type ConditionRow, type Finding, faultOf } from "../../agent-protocol.ts";
import { error, type Fault, warning } from "./picture.ts";

const CORRECT = "correct what the message names; the agent retries";
const PEERS_LOG = "see the peer's log, and compare the peer's configuration with the message";

/** Remedies by type and reason. Warnings are states without a fault at this end. */
const REMEDIES: Readonly<Record<string, readonly [Finding["severity"], string]>> = {
  "Programmed DatapathDown": [
    "error",
    "check that l2tp-datapath runs on the node; the agent retries",
  ],
  "Programmed AddressNotAvailable": [
    "error",
    "add the address to the node, or correct spec.local; the agent retries",
  ],
  "Programmed NoRoute": ["error", "add a route to the remote; the agent retries"],
  "Alive Connecting": [
    "error",
    "check that the peer is up and configured for this node's address, that firewalls pass the tunnel's port, that the shared secret is the same at both ends, and that one end has control.initiate: true",
  ],
  "Alive PeerLost": [
    "error",
    "check that the peer is up, and that the path passes its control messages; the node retries",
  ],
  "Alive Refused": ["error", PEERS_LOG],
  "Alive Closed": ["error", PEERS_LOG],
  "Alive NotAuthorized": [
    "error",
    "set the same shared secret at both ends: spec.control.secretRef of the tunnel, and the tunnel's password at the peer",
  ],
  "Redundant BackupLost": ["warning", "restore the backup that the message names"],
  "Redundant OnBackup": ["warning", "restore the remote that the message names"],
  "Redundant AllLost": ["error", "check that one of the peers is up and reachable"],
  "Redundant Connecting": ["error", "check that one of the peers is up and reachable"],
  "Attached NoCarrier": [
    "warning",
    "set the interface up, and check its cable and link partner; the agent then updates the circuit by itself",
  ],
  "Established NotActive": [
    "warning",
    "nothing is wrong at this end: attach a pod at the peer, or bring its link up",
  ],
  "Established Standby": [
    "warning",
    "nothing is wrong at this end: the peer has put its circuit on standby",
  ],
  "Established Connecting": [
    "error",
    "check that the tunnel is Alive; if so, compare the Remote End ID at both ends; one end must be a LAC (control.role)",
  ],
  "Established Down": ["error", PEERS_LOG],
};

/** Reports the first condition of an object that is a fault. */
export function aboutConditions(object: string, conditions: readonly ConditionRow[]): Finding[] {
  const bad = faultOf(conditions);
  return bad === undefined ? [] : [{ object, ...describe(bad) }];
}

function describe({ type, status, reason, message }: ConditionRow): Fault {
  const finding = `${reason}: ${message}`;
  if (status === "Unknown") return error(finding, "correct the files named above");
  const [severity, remedy] = REMEDIES[`${type} ${reason}`] ?? ["error", CORRECT];
  return severity === "warning" ? warning(finding, remedy) : error(finding, remedy);
}

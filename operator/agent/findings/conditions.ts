/** Conditions that say what is wrong, with what to do about each. */
import { type ConditionRow, type Finding, faultOf } from "../../agent-protocol.ts";
import { error, type Fault, warning } from "./picture.ts";

const CORRECT = "correct what the message names; the agent then tries again by itself";
const PEERS_LOG = "the peer's log says more; compare its configuration with the message";

/** Remedies by type and reason. A warning: nothing is wrong at this end. */
const REMEDIES: Readonly<Record<string, readonly [Finding["severity"], string]>> = {
  "Programmed DatapathDown": [
    "error",
    "see whether l2tp-datapath runs on the node; it is tried again by itself",
  ],
  "Programmed AddressNotAvailable": [
    "error",
    "give the node the address, or correct spec.local; it is tried again by itself",
  ],
  "Programmed NoRoute": ["error", "add a route to the remote; it is tried again by itself"],
  "Alive Connecting": [
    "error",
    "is the peer up, and configured for this node's address? Does a firewall pass the tunnel's port? Is the shared secret the same at both ends?",
  ],
  "Alive PeerLost": [
    "error",
    "see whether the peer is up, and whether the path passes its control messages; it is tried again by itself",
  ],
  "Alive Refused": ["error", PEERS_LOG],
  "Alive Closed": ["error", PEERS_LOG],
  "Alive NotAuthorized": [
    "error",
    "give both ends the same shared secret: spec.control.secretRef here, the tunnel's password at the peer",
  ],
  "Redundant BackupLost": ["warning", "bring the backup back that the message names"],
  "Redundant OnBackup": ["warning", "bring the remote back that the message names"],
  "Redundant AllLost": ["error", "see whether one of the peers is up, and a path leads to it"],
  "Redundant Connecting": ["error", "see whether one of the peers is up, and a path leads to it"],
  "Attached NoCarrier": [
    "warning",
    "set the interface up, and see what is plugged in there; the agent looks by itself",
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
    "its tunnel's control connection comes first; then compare the Remote End ID at the peer",
  ],
  "Established Down": ["error", PEERS_LOG],
};

/** Reports the first condition of an object that is not as it should be. */
export function aboutConditions(object: string, conditions: readonly ConditionRow[]): Finding[] {
  const bad = faultOf(conditions);
  return bad === undefined ? [] : [{ object, ...describe(bad) }];
}

function describe({ type, status, reason, message }: ConditionRow): Fault {
  const finding = `${reason}: ${message}`;
  if (status === "Unknown") return error(finding, "correct the files that are named above");
  const [severity, remedy] = REMEDIES[`${type} ${reason}`] ?? ["error", CORRECT];
  return severity === "warning" ? warning(finding, remedy) : error(finding, remedy);
}

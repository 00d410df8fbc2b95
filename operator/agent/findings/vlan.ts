/** Findings about frames that were dropped for their VLAN tags. */
import { counted, type SessionFinding, warning } from "./picture.ts";

export const untagged: SessionFinding = ({ state: { session }, grown: { rxUntagged = 0 } }) =>
  rxUntagged === 0
    ? null
    : warning(
        `dropped ${counted(rxUntagged, "received frame")} without a VLAN tag`,
        `set type Ethernet VLAN at the peer, with VLAN ID ${session.vlan?.peerId ?? "as in spec.vlan"}; or set spec.pseudowireType: Ethernet`,
      );

export const otherVlan: SessionFinding = ({ state: { session }, grown: { rxOtherVlan = 0 } }) =>
  rxOtherVlan === 0
    ? null
    : warning(
        `dropped ${counted(rxOtherVlan, "received frame")} with a VLAN ID other than ${session.vlan?.peerId ?? "the session's"}`,
        "set spec.vlan.peerId to the VLAN ID of the peer's frames",
      );

export const podTag: SessionFinding = ({ state: { session }, grown }) => {
  const { txUntagged = 0, txOtherVlan = 0 } = grown;
  if (txUntagged + txOtherVlan === 0) return null;
  const vlan = session.vlan?.id ?? "the session's";
  return warning(
    `dropped ${counted(txUntagged + txOtherVlan, "frame")} of pods: no VLAN tag, or a VLAN ID other than ${vlan}`,
    "create a VLAN interface with that ID in the pod, or set spec.vlan.pod: Untagged",
  );
};

/** Frames that were dropped for their VLAN tags. */
import { counted, type SessionFinding, warning } from "./picture.ts";

export const untagged: SessionFinding = ({ state: { session }, grown: { rxUntagged = 0 } }) =>
  rxUntagged === 0
    ? null
    : warning(
        `${counted(rxUntagged, "frame")} came without a VLAN tag, and were dropped`,
        `the peer's pseudowire must be of type Ethernet VLAN, with VLAN ID ${session.vlan?.peerId ?? "as in spec.vlan"}; or set spec.pseudowireType: Ethernet`,
      );

export const otherVlan: SessionFinding = ({ state: { session }, grown: { rxOtherVlan = 0 } }) =>
  rxOtherVlan === 0
    ? null
    : warning(
        `${counted(rxOtherVlan, "frame")} came with the tag of another VLAN than ${session.vlan?.peerId ?? "the session's"}, and were dropped`,
        "set spec.vlan.peerId to the VLAN ID that the peer's frames have",
      );

export const podTag: SessionFinding = ({ state: { session }, grown }) => {
  const { txUntagged = 0, txOtherVlan = 0 } = grown;
  if (txUntagged + txOtherVlan === 0) return null;
  const vlan = session.vlan?.id ?? "the session's";
  return warning(
    `${counted(txUntagged + txOtherVlan, "frame")} of its pods were dropped: they had no tag, or that of another VLAN than ${vlan}`,
    "give the pod a VLAN interface with that ID, or set spec.vlan.pod: Untagged",
  );
};

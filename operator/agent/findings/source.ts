/** Frames of a session from another address or port than the remote's. */
import type { SocketAddress } from "../../../linux/socket.ts";
import { counted, error, type Fault, type SessionFinding } from "./picture.ts";

export const source: SessionFinding = ({ tunnel, wire, grown: { rxSourceMismatch } }) => {
  if (rxSourceMismatch === 0) return null;
  return unexpectedSource(
    rxSourceMismatch,
    wire?.otherSources.last ?? tunnel?.lastStranger ?? null,
  );
};

export function unexpectedSource(count: number, last: SocketAddress | null): Fault {
  const port = last === null || last.port === 0 ? "" : ` port ${last.port}`;
  const whom = last === null ? "" : ` from ${last.address}${port}`;
  const finding = `${counted(count, "frame")} came${whom}, which is not the remote`;
  return error(finding, "correct the tunnel's spec.remote, or the peer's source address and port");
}

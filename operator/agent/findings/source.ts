/** Findings about frames of a session from another address or port than the remote's. */
import type { SocketAddress } from "../../../linux/socket.ts";
import { counted, error, type Fault, type SessionFinding } from "./picture.ts";

export const source: SessionFinding = ({ tunnel, wire, grown: { rxSourceMismatch } }) => {
  if (rxSourceMismatch === 0) return null;
  return unexpectedSource(
    rxSourceMismatch,
    wire?.otherSources.last ?? tunnel?.lastStranger ?? null,
  );
};

/** Reports frames of a session that came from another address than the remote's. */
export function unexpectedSource(count: number, last: SocketAddress | null): Fault {
  const port = last === null || last.port === 0 ? "" : ` port ${last.port}`;
  const sender = last === null ? "" : ` ${last.address}${port}`;
  const finding = `received ${counted(count, "frame")} from unexpected source${sender}`;
  return error(finding, "correct spec.remote of the tunnel, or the peer's source address and port");
}

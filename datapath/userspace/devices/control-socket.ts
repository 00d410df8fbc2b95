/** The socket of a tunnel over IP whose frames another datapath forwards. It sends control messages. */
import { Errno } from "../../../linux/errno.ts";
import { sendConnected } from "../../../linux/socket.ts";
import type { DatagramSocket } from "../packet/ports.ts";

/** The zero session ID in front of a control message on the wire. The kernel adds it. */
const ZERO_SESSION_ID_BYTES = 4;

/** Sends only: process/control-sockets.ts reads this socket together with those of the tunnel's connections. */
export class ControlSocket implements DatagramSocket {
  readonly fd: number;
  readonly local: string;
  readonly remote: string;
  readonly canSegment = false;

  /** @param fd connected to the remote */
  constructor(fd: number, local: string, remote: string) {
    this.fd = fd;
    this.local = local;
    this.remote = remote;
  }

  receive(): number {
    return 0;
  }

  send(): number {
    return -Errno.EOPNOTSUPP;
  }

  sendTo(datagram: Uint8Array): void {
    sendConnected(this.fd, datagram.subarray(ZERO_SESSION_ID_BYTES));
  }

  setTransmitChecksum(): void {}
}

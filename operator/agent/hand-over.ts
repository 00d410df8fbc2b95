/** Sockets that the datapath process gives the kernel (model/halves.ts): it says when it has; we see whether it is so. */
import type { Change } from "../../datapath/datapath.ts";
import {
  type KernelDatapath,
  NotHandedOverError,
  NotOursError,
  strangeTunnel,
} from "../../datapath/kernel/kernel.ts";
import type { Tunnel } from "../../model/model.ts";
import { type Reply, toWireError } from "../../rpc/errors.ts";

type Replies = Promise<readonly Reply<null>[]>;

/**
 * Has the process make the changes.
 * @param kernel null where it has no L2TP; the process's doings may load it
 */
export async function applyHandingOver(
  changes: readonly Change[],
  apply: (changes: readonly Change[]) => Replies,
  kernel: () => KernelDatapath | null,
): Replies {
  const first = changes.findIndex((change) => handedOver(change) !== null);
  if (first === -1) return apply(changes);
  const [start, rest] = [changes.slice(0, first), changes.slice(first)];
  const before = start.length === 0 ? [] : await apply(start);
  const closed = new Set(
    start.flatMap((change) => (change.op === "deleteTunnel" ? change.name : [])),
  );
  const again = rest.flatMap((change) => {
    const tunnel = handedOver(change);
    return tunnel !== null && closed.has(tunnel.name) ? tunnel.tunnelId : [];
  });
  // The kernel takes its time to let go of a socket's tunnel. What it still has then is found below.
  await kernel()
    ?.release(again)
    .catch(() => {});
  const replies = await apply(rest);
  const checked = replies.map((reply, index) => {
    const tunnel = handedOver(rest[index]);
    return tunnel === null ? reply : checkHandOver(reply, tunnel, kernel());
  });
  return [...before, ...checked];
}

/** The control half that a change puts; null: it puts none. */
function handedOver(change: Change | undefined): Tunnel | null {
  return change?.op === "putTunnel" && change.tunnel.handsOver ? change.tunnel : null;
}

function checkHandOver(
  reply: Reply<null>,
  tunnel: Tunnel,
  kernel: KernelDatapath | null,
): Reply<null> {
  const { tunnelId } = tunnel;
  if ("error" in reply) {
    if (reply.error.code !== "EEXIST") return reply;
    return { error: toWireError(new NotOursError(strangeTunnel(tunnelId))) };
  }
  if (kernel?.holds(tunnel)) return reply;
  const message = `the datapath process has not given the kernel tunnel ${tunnelId}: it may be older than the agent; end it when frames may pause, and it is started anew`;
  return { error: toWireError(new NotHandedOverError(message)) };
}

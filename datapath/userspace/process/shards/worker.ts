/** A thread with a shard: works, and between two rounds answers the first thread. */
import { writeSync } from "node:fs";
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { EPOLLIN } from "../../../../linux/epoll.ts";
import { takeEvent } from "../../../../linux/event.ts";
import { toWireError } from "../../../../rpc/errors.ts";
import { TapDevice } from "../../devices/kernel-ports.ts";
import { strangerOf } from "../listing.ts";
import { Shard } from "../shard.ts";
import type { EndpointShare, ShardReply, ShardRequest, ThreadData } from "./protocol.ts";

const { share, offload, port, replies, wake } = workerData as ThreadData;
const log = (line: string) => writeSync(2, `l2tp-datapath: ${line}\n`);

try {
  const shard = new Shard({ offload, fastPath: false, log }, share);
  shard.loop.watch(wake, EPOLLIN, { queues: false, ready: () => answerAll(shard) });
  shard.loop.run();
} catch (error) {
  // Nobody would hear of it otherwise: the first thread waits for descriptors only.
  log(`thread ${share.index + 1}: ${error instanceof Error ? error.stack : String(error)}`);
  process.kill(process.pid, "SIGKILL");
}

function answerAll(shard: Shard): void {
  takeEvent(wake);
  for (;;) {
    const request = receiveMessageOnPort(port);
    if (request === undefined) return;
    port.postMessage(answer(shard, request.message));
    Atomics.add(replies, 0, 1);
    Atomics.notify(replies, 0);
  }
}

function answer(shard: Shard, request: ShardRequest): ShardReply {
  try {
    return execute(shard, request);
  } catch (error) {
    return { error: toWireError(error) };
  }
}

function execute(shard: Shard, request: ShardRequest): ShardReply {
  const { table } = shard;
  switch (request.op) {
    case "apply":
      return shard.apply(request.change);
    case "hold":
      table.hold(request.tunnel);
      break;
    case "release":
      table.release(request.tunnel);
      break;
    case "handOver": {
      const moving = shard.handOver(request.sessions);
      return {
        result: moving.map(({ session: { key }, device }) => {
          if (device === null) return { key, device };
          const { fd, index, joins } = device as TapDevice;
          return { key, device: { fd, index, joins } };
        }),
      };
    }
    case "takeOver": {
      const { change, device } = request;
      const { session } = change;
      const opened = device && new TapDevice(device.fd, device.index, device.joins);
      table.takeOver({ session, device: opened });
      return shard.apply({ ...change, device: "keep" });
    }
    case "list":
      return { result: { ...shard.list(request.sessions), endpoints: endpointShares(shard) } };
    case "turns":
      return { result: shard.turns };
    case "stop":
      shard.stop();
      break;
  }
  return { result: null };
}

function endpointShares({ table, loop }: Shard): EndpointShare[] {
  const now = loop.now();
  return [...table.endpoints.values()].map(
    ({ key, counters, lastUnknownSession, lastUnknownName, lastUnknownMs }) => ({
      key,
      counters,
      lastUnknownSession,
      lastUnknownFrom: strangerOf(lastUnknownName, lastUnknownMs, now),
    }),
  );
}

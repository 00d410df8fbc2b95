import { beforeEach, expect, it } from "vitest";
import type { Tunnel } from "../../../../model/model.ts";
import {
  session as sessionOf,
  tunnelControl,
  tunnel as tunnelOf,
} from "../../../../model/testdata.ts";
import type { ShardRequest, ShardResults } from "./protocol.ts";
import { type CalledShard, Shards } from "./shards.ts";
import { shardOf } from "./steering.ts";

/** Does what it is told, but for what it refuses. The threads are in test/threads/. */
class RecordingShard implements CalledShard {
  readonly requests: ShardRequest[] = [];
  refuses: ShardRequest["op"] | null = null;

  call<R extends ShardRequest>(request: R): ShardResults[R["op"]] {
    this.requests.push(request);
    if (request.op === this.refuses) throw new Error(`no ${request.op}`);
    const result = request.op === "handOver" ? [{ key: sessionOf({}).key, device: null }] : null;
    return result as ShardResults[R["op"]];
  }

  /** Since the last time. */
  ops(): string[] {
    const names = this.requests.map((request) =>
      request.op === "apply" ? request.change.op : request.op,
    );
    this.requests.length = 0;
    return names;
  }
}

let recording: RecordingShard[];
let shards: Shards;
/** A remote address of each. */
const remotes = [0, 1, 2].map((shard) => {
  const addresses = Array.from({ length: 99 }, (_, i) => `192.0.2.${i + 1}`);
  return addresses.find((address) => shardOf(address, 3) === shard) as string;
});

beforeEach(() => {
  recording = [new RecordingShard(), new RecordingShard(), new RecordingShard()];
  shards = new Shards(recording);
});

const ops = () => recording.map((shard) => shard.ops());

function tunnelTo(shard: number, change: Partial<Tunnel> = {}): Tunnel {
  const remote = { address: remotes[shard] as string, port: 5000 };
  return tunnelOf({ remote, ...change });
}

function put(tunnel: Tunnel) {
  return shards.apply({ op: "putTunnel", tunnel });
}

it("has all open a local endpoint, and one carry the tunnel", () => {
  expect(put(tunnelTo(1))).toEqual({ result: null });
  expect(ops()).toEqual([["hold"], ["hold", "putTunnel"], ["hold"]]);
  put(tunnelTo(1));
  put(tunnelTo(2, { name: "other" }));
  expect(ops()).toEqual([[], ["putTunnel"], ["putTunnel"]]);
  shards.apply({ op: "deleteTunnel", name: "other" });
  expect(ops()).toEqual([[], [], ["deleteTunnel"]]);
  shards.apply({ op: "deleteTunnel", name: tunnelTo(1).name });
  expect(ops()).toEqual([["release"], ["deleteTunnel", "release"], ["release"]]);
});

it("has one shard alone open the socket that the kernel is given", () => {
  const held = tunnelTo(1, { socketOwner: "ManagedKernel", control: tunnelControl() });
  expect(put(held)).toEqual({ result: null });
  shards.apply({ op: "deleteTunnel", name: held.name });
  expect(ops()).toEqual([[], ["putTunnel", "deleteTunnel"], []]);
});

it("opens it nowhere where one cannot", () => {
  const [, second] = recording as [RecordingShard, RecordingShard];
  second.refuses = "hold";
  expect(put(tunnelTo(0))).toMatchObject({ error: { message: "no hold" } });
  expect(ops()).toEqual([["hold", "release"], ["hold"], []]);
  second.refuses = null;
  expect(put(tunnelTo(0))).toEqual({ result: null });
  expect(ops()).toEqual([["hold", "putTunnel"], ["hold"], ["hold"]]);
});

it("moves a tunnel with its sessions to the shard of its new remote", () => {
  put(tunnelTo(0));
  shards.apply({ op: "putSession", session: sessionOf({}), device: null });
  ops();
  put(tunnelTo(2));
  expect(ops()).toEqual([["handOver", "deleteTunnel"], [], ["putTunnel", "takeOver"]]);
  shards.apply({ op: "deleteSession", key: sessionOf({}).key });
  expect(ops()).toEqual([[], [], ["deleteSession"]]);
});

it("moves a session to the shard of its new tunnel", () => {
  put(tunnelTo(0));
  put(tunnelTo(1, { name: "other" }));
  shards.apply({ op: "putSession", session: sessionOf({}), device: null });
  ops();
  const moved = sessionOf({ tunnel: "other" });
  shards.apply({ op: "putSession", session: moved, device: "keep" });
  expect(ops()).toEqual([["handOver"], ["takeOver", "putSession"], []]);
});

it("refuses a session without its tunnel, and knows nothing of it", () => {
  const reply = shards.apply({ op: "putSession", session: sessionOf({}), device: null });
  expect(reply).toMatchObject({ error: { code: "NoTunnel" } });
  expect(shards.list([sessionOf({}).key])).toEqual({ tunnels: [], sessions: [] });
  expect(ops()).toEqual([[], [], []]);
});

it("takes no tunnel with backups, whose messages would come to other threads", () => {
  const control = tunnelControl({ backups: [{ address: "192.0.2.200", port: 1701 }] });
  expect(put(tunnelTo(1, { control }))).toMatchObject({
    error: { code: "EOPNOTSUPP", message: expect.stringContaining("start it without --threads") },
  });
  expect(ops()).toEqual([[], [], []]);
});

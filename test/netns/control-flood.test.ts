/** Managed tunnels during floods of control messages with the peer's address. */
import { afterEach, describe, expect, it } from "vitest";
import type { Change } from "../../datapath/datapath.ts";
import { type ControlChange, session, sessionControl } from "../../model/testdata.ts";
import { median } from "../bench/report.ts";
import type { Flood } from "../harness/control-flood.ts";
import { TestDatapath } from "../harness/datapath.ts";
import {
  controlOf,
  DEFAULT_PAUSES,
  established,
  ManagedPair,
  managedChanges,
  WIRES,
  type Wire,
} from "../harness/managed-pair.ts";
import type { Host } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

const [UDP] = WIRES as [Wire];
const FLOODS: readonly Flood[] = ["requests", "imitations", "one request", "next numbers"];
/** Long timeouts, so that a busy machine does not make the peer look dead. */
const SIGNED = { secrets: ["733363726574"], deadAfterMs: 10_000 };
const WAITS = { initiates: false };
/** The end must answer one of a peer's first three requests. */
const MAX_REQUESTS_MISSED = 2;
/** Recoveries without and with a flood, in turn, so that both run on an equally busy machine. */
const TURNS = 5;
const MAX_TIMES_USUAL = 3;

let pair: ManagedPair;

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(pair.a.log, pair.b.log);
  await pair.destroy();
});

describe("20,000 control messages a second with the peer's address", () => {
  it.each(WIRES)(
    "do not affect an established connection over $encapsulation and $family",
    async (wire) => {
      pair = await ManagedPair.create(wire, SIGNED);
      const before = await pair.join();
      const { localConnectionId: connectionId, received: ns } = before;
      await pair.floodFully("all", { connectionId, ns });
      // Each HELLO waits for the acknowledgment of the previous one.
      await until("HELLOs are exchanged", async () => {
        const { sent, received } = await controlOf(pair.a);
        return sent + received - before.sent - before.received > 6;
      });
      await pair.crosses();
      const after = await controlOf(pair.a);
      expect(after).toMatchObject({ state: "established", localConnectionId: connectionId });
      expect(await controlOf(pair.b)).toMatchObject({ peerConnectionId: connectionId });
      expect(after.endpoint).toMatchObject({ rxControlDropped: after.dropped, rxControl: 0 });
      await pair.comeBack();
      const { retransmitted } = await controlOf(pair.b);
      expect(retransmitted).toBeLessThanOrEqual(MAX_REQUESTS_MISSED);
    },
  );

  it.each(FLOODS)("(%s) do not prevent a peer from reconnecting", async (kind) => {
    pair = await ManagedPair.create(UDP, SIGNED);
    const { localConnectionId: connectionId, received: ns } = await pair.join();
    await pair.floodFully(kind, { connectionId, ns });
    await pair.comeBack();
    const { retransmitted } = await controlOf(pair.b);
    expect(retransmitted).toBeLessThanOrEqual(MAX_REQUESTS_MISSED);
  });

  it("with the peer's Host Name hardly delay a reconnecting peer", async () => {
    pair = await ManagedPair.create(UDP, { ...SIGNED, ...DEFAULT_PAUSES });
    await pair.join();
    const [usual, flooded]: [number[], number[]] = [[], []];
    for (let turn = 0; turn < TURNS; turn++) {
      usual.push(await pair.comeBack());
      await pair.floodFully("imitations");
      flooded.push(await pair.comeBack());
      await pair.stopFloods();
    }
    expect(median(flooded) / median(usual)).toBeLessThan(MAX_TIMES_USUAL);
  });

  it.each<[string, boolean]>([
    ["to an end that initiates", false],
    ["to an end that waits", true],
  ])("do not prevent the first connection %s", async (_, initiates) => {
    pair = await ManagedPair.create(UDP);
    await pair.put(pair.a, { initiates });
    await pair.floodFully("imitations");
    await pair.put(pair.b, { initiates: !initiates });
    const { retransmitted } = await established(pair.b);
    expect(retransmitted).toBeLessThanOrEqual(MAX_REQUESTS_MISSED);
    await pair.crosses();
  });

  it("do not delay another tunnel", async () => {
    pair = await ManagedPair.create(UDP);
    const { a, net } = pair;
    const c = new TestDatapath(await net.addHost());
    try {
      await c.start();
      await pair.put(a, WAITS);
      await pair.floodFully("all");
      const other = (local: Host, remote: Host, control: ControlChange) =>
        managedChanges("other", UDP, [local, remote], control);
      // Host c reaches host a by a's address on the first wire.
      await a.apply(...other(net.a, c.host, WAITS));
      await c.apply(...other(c.host, net.a, {}));
      expect((await established(c, "other")).retransmitted).toBe(0);
      expect((await established(a, "other")).dropped).toBe(0);
    } finally {
      await c.destroy();
    }
  });
});

it("one peer sets up a thousand sessions without being limited", async () => {
  pair = await ManagedPair.create(UDP, SIGNED);
  const { a, b } = pair;
  await pair.join();
  const sessions = (places: "ICRQ" | null): Change[] =>
    Array.from({ length: 1000 }, (_, index) => ({
      op: "putSession",
      session: session({
        ...{ key: `shop/s${index}`, tunnel: "branch", l2SpecificSublayer: "None" },
        control: sessionControl({ places, remoteEndId: `s${index}` }),
      }),
      device: null,
    }));
  await a.apply(...sessions(null));
  await b.apply(...sessions("ICRQ"));
  await until("all sessions are established", async () => {
    const { sessions: all } = await a.list();
    return all.length === 1001 && all.every(({ control }) => control?.phase === "established");
  });
  for (const end of [a, b]) {
    expect((await controlOf(end)).endpoint).toMatchObject({ rxControlDropped: 0 });
  }
});

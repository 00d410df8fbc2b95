/** A datapath process receives captured messages of routers. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MANAGED_KERNEL } from "../../datapath/managed-kernel/traits.ts";
import { describeFlaw } from "../../l2tp/control/describe.ts";
import { type Decoded, decodeMessage } from "../../l2tp/control/message.ts";
import { fromHex } from "../../l2tp/control/octets.ts";
import { sessionControl } from "../../model/testdata.ts";
import { TestDatapath } from "../harness/datapath.ts";
import { controlOf, managedChanges, WIRES, type Wire } from "../harness/managed-pair.ts";
import { inside, TestNet } from "../harness/net.ts";
import type { RouterOptions } from "../harness/router.ts";
import { until } from "../harness/wait.ts";

const ROUTER = fileURLToPath(new URL("../harness/router.ts", import.meta.url));
const NAME = "branch";
/** With the kernel datapath, the kernel's sockets receive the messages. */
const IS_KERNEL = process.env.L2TP_TEST_DATAPATH === "Kernel";

/** A Cisco router's SCCRQ, captured over IP. Its only pseudowire type is MPEG-TS (12). */
const SCCRQ =
  "c80300b3000000000000000080080000000000018008000000020100800a0000000300000000000e00000005be64ff90b0318aad00080000000611308016000000074353542d577568616e2d75627231306b001900000008436973636f2053797374656d732c20496e632e80080000000a0400000a0000003c04060d02000a0000003dcc1f7e4100080000003e000c800a00090001cc1f7e41800800090002000c80080009000a0001000a0009007300000101";
/** The SCCRQ with pseudowire type Ethernet. */
const ETHERNET = SCCRQ.replace("003e000c", "003e0005").replace("00090002000c", "000900020005");
const ID = 0xcc1f7e41;
/** The router's ICRQ with a Remote End ID of two octets, for Ethernet, without DOCSIS AVPs. */
const ICRQ_AVPS =
  "800800000000000a000e00000005fe57e07a501e1544800a0000000f0e851459800600000027000a0000003f4aa0f134000a0000004000000000800800000042002a800800000044000500080000004500000008000000470001800a000900034aa0f134800a00090004000000008008000900070005800e00090009fe57e07a501e1544";
const ICCN_AVPS = (ours: string) =>
  `800800000000000c800600000027000a0000003f4aa0f134000a00000040${ours}00080000004500000008000000470001800a000900034aa0f134800a00090004${ours}`;

const hex32 = (value: number) => value.toString(16).padStart(8, "0");
const hex16 = (value: number) => value.toString(16).padStart(4, "0");

function message(to: number, ns: number, nr: number, avps: string): string {
  return `c803${hex16(12 + avps.length / 2)}${hex32(to)}${hex16(ns)}${hex16(nr)}${avps}`;
}

let net: TestNet;
let end: TestDatapath;
let router: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
let heard: Decoded[];

beforeEach(async () => {
  net = await TestNet.create();
  end = new TestDatapath(net.a);
  heard = [];
  await end.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(end.log, heard);
  router?.kill();
  router = undefined;
  await end.destroy();
  await net.remove();
});

/** Creates a tunnel that waits for its peer, and a peer. @returns a function that sends a message of the peer */
async function meet(wire: Wire): Promise<(hex: string) => void> {
  const [tunnel, session] = managedChanges(NAME, wire, [net.a, net.b], { initiates: false });
  if (tunnel?.op !== "putTunnel" || session?.op !== "putSession") throw new Error("no session");
  const control = sessionControl({ places: null, remoteEndId: "\u0000*" });
  const given = IS_KERNEL ? { socketOwner: MANAGED_KERNEL.name } : {};
  await end.apply(
    { ...tunnel, tunnel: { ...tunnel.tunnel, ...given } },
    {
      ...session,
      session: { ...session.session, control },
      ...(IS_KERNEL ? { device: null } : {}),
    },
  );
  const port = wire.encapsulation === "UDP" ? 1701 : 0;
  const options: RouterOptions = {
    encapsulation: wire.encapsulation,
    from: { address: net.b[wire.family], port },
    to: { address: net.a[wire.family], port },
  };
  const [program = "", ...args] = inside(
    net.b.name,
    process.execPath,
    ROUTER,
    JSON.stringify(options),
  );
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  router = child;
  let rest = "";
  child.stdout.on("data", (data: Buffer) => {
    const lines = (rest + data.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const decoded = decodeMessage(fromHex(line));
      if (!("undecodable" in decoded)) heard.push(decoded);
    }
  });
  return (hex) => child.stdin.write(`${hex}\n`);
}

const answer = (type: string) =>
  until(`${type} arrives`, () => heard.findLast((each) => each.type === type));

describe("a router's first message", () => {
  it.each(WIRES)("is answered over $encapsulation and $family", async (wire) => {
    const say = await meet(wire);
    say(ETHERNET);
    const reply = await answer("SCCRP");
    expect(reply.header.connectionId).toBe(ID);
    expect(reply.flaws.map(describeFlaw)).toEqual([]);
    const to = reply.attributes.assignedConnectionId as number;
    say(message(to, 1, 1, "8008000000000003"));
    await until(
      "the connection is established",
      async () => (await controlOf(end)).state === "established",
    );
    expect(await controlOf(end)).toMatchObject({ peerConnectionId: ID });
    say(message(to, 2, 1, ICRQ_AVPS));
    const { attributes } = await answer("ICRP");
    expect(attributes).toMatchObject({ pseudowireType: 5, remoteSessionId: 0x4aa0f134 });
    say(message(to, 3, 2, ICCN_AVPS(hex32(attributes.localSessionId as number))));
    await until("the session is established", async () => {
      const [session] = (await end.list()).sessions;
      return session?.control?.established?.peerSessionId === 0x4aa0f134;
    });
  });

  it.each(WIRES)(
    "is answered as L2TPv3 over $encapsulation and $family if it offers both versions",
    async (wire) => {
      const say = await meet(wire);
      say(ETHERNET.replace("c803", "c802"));
      expect((await answer("SCCRP")).header.connectionId).toBe(ID);
    },
  );

  it.each(WIRES)(
    "is answered without a common pseudowire type, over $encapsulation and $family",
    async (wire) => {
      const say = await meet(wire);
      say(SCCRQ);
      const { header, attributes } = await answer("SCCRP");
      expect(header.connectionId).toBe(ID);
      say(message(attributes.assignedConnectionId as number, 1, 1, "8008000000000003"));
      await until(
        "the connection is established",
        async () => (await controlOf(end)).state === "established",
      );
    },
  );
});

/** Our datapath against QEMU's own L2TPv3, which joins a tunnel socket to a TAP device without a guest. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { pseudowireMtu } from "../../l2tp/mtu.ts";
import type { SessionSpec, TunnelSpec } from "../../l2tp/spec.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { inside, ip, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

interface Variant {
  readonly encapsulation: "UDP" | "IP";
  readonly family: 4 | 6;
  readonly cookieBytes: 0 | 4 | 8;
  readonly sublayer: "Default" | "None";
}

// QEMU's counter stands where the default sublayer does; pinned to 0 it is one without sequencing.
const variants: Variant[] = (["UDP", "IP"] as const).flatMap((encapsulation) =>
  ([4, 6] as const).flatMap((family) =>
    ([0, 4, 8] as const).flatMap((cookieBytes) =>
      (["None", "Default"] as const).map((sublayer) => ({
        encapsulation,
        family,
        cookieBytes,
        sublayer,
      })),
    ),
  ),
);

const COOKIES = {
  0: ["", ""],
  4: ["a1b2c3d4", "01020304"],
  8: ["a1b2c3d4e5f60718", "1122334455667788"],
} as const;

let net: TestNet;
let agent: TestAgent;
const qemu = new Background();

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  await agent.start();
});

afterEach(() => qemu.stopAll());

afterAll(async () => {
  await qemu.stopAll();
  await agent?.destroy();
  await net?.remove();
});

function qemuOptions({ encapsulation, family, cookieBytes, sublayer }: Variant): string {
  const address = family === 4 ? "ipv4" : "ipv6";
  const udp = encapsulation === "UDP" ? ["udp=on", "srcport=5000", "dstport=5000"] : ["udp=off"];
  const [ours, theirs] = COOKIES[cookieBytes];
  // QEMU's txcookie is what it sends: what we require.
  // QEMU 7.2 takes the very presence of cookie64 for "on": `cookie64=off` sends 8 bytes.
  const width = cookieBytes === 8 ? ["cookie64=on"] : [];
  const cookies = cookieBytes === 0 ? [] : [...width, `txcookie=0x${ours}`, `rxcookie=0x${theirs}`];
  return [
    "l2tpv3,id=wire",
    `src=${net.b[address]},dst=${net.a[address]}`,
    `ipv6=${family === 6 ? "on" : "off"}`,
    "rxsession=0xffffffff,txsession=7",
    sublayer === "Default" ? "counter=on,pincounter=on" : "counter=off",
    ...udp,
    ...cookies,
  ].join(",");
}

describe.each(variants)(
  "$encapsulation over IPv$family, cookies of $cookieBytes, sublayer $sublayer",
  (variant) => {
    it("carries frames of every size", async () => {
      const { encapsulation, family, cookieBytes, sublayer } = variant;
      const address = family === 4 ? "ipv4" : "ipv6";
      const port = encapsulation === "UDP" ? { port: 5000 } : {};
      const tunnel: Partial<TunnelSpec> = {
        encapsulation,
        local: { address: net.a[address], ...port },
        remote: { address: net.b[address], ...port },
      };
      const [receive, transmit] = COOKIES[cookieBytes];
      const session: Partial<SessionSpec> = {
        sessionId: 7,
        peerSessionId: 0xffffffff,
        l2SpecificSublayer: sublayer,
        ...(cookieBytes === 0
          ? {}
          : { cookies: { receive: { value: receive }, transmit: { value: transmit } } }),
      };
      const name = `s${encapsulation}${family}${cookieBytes}${sublayer}`.toLowerCase();
      agent.write("one.yaml", [
        tunnelObject("t", net.a, net.b, tunnel),
        sessionObject(name, "t", session),
      ]);
      await until("the session is up", async () => {
        const row = await agent.session(`shop/${name}`);
        return row?.conditions.some(
          ({ type, status }) => type === "Programmed" && status === "True",
        );
      });
      const pod = await net.addPod(name);
      const config = {
        cniVersion: "1.0.0",
        name: "qemu",
        type: "l2tp",
        session: name,
        namespace: "shop",
        socket: agent.socket,
        runtimeConfig: { ips: ["10.1.0.1/24", "fd00::1/64"] },
      };
      const call = { containerId: name, netns: pod, config };
      expect((await cni(net.a, { command: "ADD", ...call })).stdout).toContain("net1");

      let output = "";
      const tap = ["-netdev", "tap,id=tap,ifname=qtap,script=no,downscript=no"];
      const hub = ["wire", "tap"].flatMap((id) => [
        "-netdev",
        `hubport,id=hub${id},hubid=0,netdev=${id}`,
      ]);
      const machine = ["qemu-system-x86_64", "-M", "none", "-display", "none"];
      qemu.start(
        inside(net.b.name, ...machine, "-netdev", qemuOptions(variant), ...tap, ...hub),
        (text) => {
          output += text;
        },
      );
      await until(`QEMU has its device\n${output}`, () => ip(net.b.name, "link", "show", "qtap"));
      const mtu = pseudowireMtu(1500, {
        family,
        encapsulation,
        l2SpecificSublayer: sublayer,
        txCookieBytes: cookieBytes,
      });
      await ip(net.b.name, "addr", "add", "10.1.0.2/24", "dev", "qtap");
      await ip(net.b.name, "addr", "add", "fd00::2/64", "dev", "qtap", "nodad");
      await ip(net.b.name, "link", "set", "qtap", "mtu", String(mtu), "up");
      await until("the first ping", () => ping(pod, "10.1.0.2"));
      // 28 bytes of IPv4 and ICMP: the last one fills the MTU.
      for (const size of [18, 64, 500, 1000, mtu - 29, mtu - 28]) {
        expect(await ping(pod, "10.1.0.2", { size, args: ["-M", "do"] }), `size ${size}`).toBe(
          true,
        );
      }
      expect(await ping(pod, "fd00::2")).toBe(true);
      expect(await ping(net.b.name, "10.1.0.1", { count: 5 })).toBe(true);
      const { counters } = (await agent.session(`shop/${name}`)) ?? { counters: {} };
      expect(counters).toMatchObject({ rxErrors: 0, txErrors: 0, rxSourceMismatch: 0 });
      await qemu.stopAll();
      expect((await cni(net.a, { command: "DEL", ...call })).status).toBe(0);
    });
  },
);

/** Tests of underlay faults, for both datapaths. */
import { afterEach, describe, expect, it } from "vitest";
import { render, TUNNEL_VIEW } from "../../cli/views.ts";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "./agent.ts";
import { cni } from "./cni.ts";
import { addKernelPeer } from "./kernel-peer.ts";
import { inside, ip, linksOf, ping, TestNet } from "./net.ts";
import { managedTunnel, sessionObject } from "./objects.ts";
import { Background } from "./run.ts";
import { type Family, PORT, tunnelBy } from "./tunnel-by.ts";
import { until } from "./wait.ts";

const FAMILIES: readonly Family[] = ["ipv4", "ipv6"];
const FAR = "10.1.0.9";

let net: TestNet;
let near: TestAgent;
let agents: TestAgent[] = [];
const background = new Background();

afterEach(async (context) => {
  if (context.task.result?.state === "fail") for (const { log } of agents) console.log(log);
  await background.stopAll();
  for (const each of agents) await each.teardownOrKill().finally(() => each.destroy());
  agents = [];
  await net.remove();
});

async function start(...objects: ((net: TestNet) => object)[]): Promise<void> {
  net = await TestNet.create();
  near = new TestAgent(net.a);
  agents = [near];
  near.write("all.yaml", [...objects.map((object) => object(net)), sessionObject("lan", "t")]);
  await near.start();
}

async function attach(agent: TestAgent, address: string): Promise<string> {
  const netns = await net.addPod(`pod${agents.indexOf(agent)}`);
  const rest = { session: "shop/lan", socket: agent.socket, runtimeConfig: { ips: [address] } };
  const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
  const answer = await cni(agent.host, { command: "ADD", netns, config });
  expect(answer.status, answer.stdout).toBe(0);
  return netns;
}

/** Creates the far end, with address FAR. @returns its namespace */
type AddFarEnd = (family: Family, udpChecksum: boolean) => Promise<string>;

const addFarAgent: AddFarEnd = async (family, udpChecksum) => {
  const far = new TestAgent(net.b);
  agents.push(far);
  const tunnel = tunnelBy(family, net.b, net.a, { udpChecksum, fastPath: false });
  far.write("all.yaml", [tunnel, sessionObject("lan", "t")]);
  await far.start();
  const pod = await attach(far, `${FAR}/24`);
  // The far end sends first, too.
  background.start(inside(pod, "ping", "-i", "0.5", "10.1.0.1"));
  return pod;
};

/** A second agent would take too long to start on an emulated machine. */
const addFarKernel: AddFarEnd = async (family, udpChecksum) => {
  const ipVersion = family === "ipv4" ? 4 : 6;
  await addKernelPeer(net.b, net.a, { ipVersion, udpChecksum, address: `${FAR}/24` });
  background.start(inside(net.b.name, "ping", "-i", "0.5", "10.1.0.1"));
  return net.b.name;
};

const programmed = () => near.condition("l2tptunnel", "t", "Programmed");

async function findings(at = near): Promise<string> {
  const examination = await at.ask({ op: "doctor", seconds: 2 });
  return examination.findings.map(({ finding, remedy }) => `${finding}; ${remedy}`).join("\n");
}

export function testUnderlays(change: Partial<TunnelSpec>, isKernel: boolean): void {
  const addFarEnd = isKernel ? addFarKernel : addFarAgent;

  describe("a deleted local address", () => {
    it.each(FAMILIES)(
      "is reported, and the tunnel recovers when it is restored: %s",
      async (family) => {
        await start(({ a, b }) => tunnelBy(family, a, b, change));
        await addFarEnd(family, true);
        const pod = await attach(near, "10.1.0.1/24");
        await until("frames cross", () => ping(pod, FAR));
        const address = net.a[family];
        const prefix = `${address}/${family === "ipv4" ? 24 : 64}`;
        await ip(net.a.name, "addr", "del", prefix, "dev", net.a.device);
        await until(
          "the condition has the reason",
          () => programmed()?.reason === "AddressNotAvailable",
        );
        expect(programmed()).toMatchObject({
          status: "False",
          message: expect.stringContaining(address),
        });
        const shown = render(TUNNEL_VIEW, await near.ask({ op: "tunnels" }), false);
        expect(shown).toMatch(/^t +AddressNotAvailable /m);
        expect(shown).toContain(`! t: The node does not have the local address ${address}`);
        const found = await findings();
        expect(found).toContain(`does not have the local address ${address}`);
        expect(found).not.toMatch(/no route|EINVAL/);
        const nodad = family === "ipv6" ? ["nodad"] : [];
        await ip(net.a.name, "addr", "add", prefix, "dev", net.a.device, ...nodad);
        await until("frames cross again", () => ping(pod, FAR));
        await until("the condition is True", () => programmed()?.status === "True");
        expect(await findings()).not.toContain("local address");
      },
    );

    it("is reported if spec.local names an interface, and the running session stays", async () => {
      const local = { interface: "wire1", port: PORT };
      await start(({ a, b }) => tunnelBy("ipv4", a, b, { ...change, local }));
      await addFarEnd("ipv4", true);
      const pod = await attach(near, "10.1.0.1/24");
      await until("frames cross", () => ping(pod, FAR));
      const prefix = `${net.a.ipv4}/24`;
      await ip(net.a.name, "addr", "del", prefix, "dev", net.a.device);
      await until("the condition has the reason", () => programmed()?.reason === "NoLocalAddress");
      expect(programmed()?.message).toContain("interface wire1 has no IPv4 address");
      expect(await findings()).toContain("interface wire1 has no IPv4 address");
      await ip(net.a.name, "addr", "add", prefix, "dev", net.a.device);
      await until("frames cross again", () => ping(pod, FAR));
      await until("the condition is True", () => programmed()?.status === "True");
    });
  });

  describe("a peer that does not listen", () => {
    it("is reported by the doctor for a tunnel with a control connection", async () => {
      await start(({ a, b }) => managedTunnel("t", a, b, {}, change));
      await until("the doctor reports it", async () =>
        (await findings()).includes(
          '"port unreachable": it does not listen on UDP port 1701; start the tunnel at the peer',
        ),
      );
    });

    it.each(FAMILIES)("is reported by the doctor: %s", async (family) => {
      await start(({ a, b }) => tunnelBy(family, a, b, change));
      const pod = await attach(near, "10.1.0.1/24");
      background.start(inside(pod, "ping", "-i", "0.2", FAR));
      await until("the doctor reports it", async () =>
        (await findings()).includes(
          `"port unreachable": it does not listen on UDP port ${PORT}; start the tunnel at the peer`,
        ),
      );
    });
  });

  // The kernel of a virtual machine accepts the protocol, and sends no ICMP error.
  if (!isKernel) {
    describe("a peer that does not accept the IP protocol", () => {
      it.each(FAMILIES)("is reported by the doctor: %s", async (family) => {
        await start(({ a, b }) => tunnelBy(family, a, b, { ...change, encapsulation: "IP" }));
        const pod = await attach(near, "10.1.0.1/24");
        background.start(inside(pod, "ping", "-i", "0.2", FAR));
        await until("the doctor reports it", async () =>
          (await findings()).includes(
            '"protocol unreachable": it does not accept IP protocol 115; start L2TPv3 over IP',
          ),
        );
      });
    });
  }

  describe("a network address", () => {
    it("is rejected as a remote", async () => {
      const remote = { address: "192.0.2.255", port: PORT };
      await start(({ a, b }) => tunnelBy("ipv4", a, b, { ...change, remote }));
      expect(programmed()).toMatchObject({
        status: "False",
        reason: "InvalidRemote",
        message: expect.stringMatching(/^spec\.remote\.address.*192\.0\.2\.255.*broadcast address/),
      });
      const lacking = (await linksOf(net.a.name)).filter(({ ifname }) => ifname.startsWith("l2tp"));
      expect(lacking).toEqual([]);
    });
  });

  describe("udpChecksum: false over IPv6", () => {
    it("warns that the peer must accept it, and the doctor reports a peer that does not", async () => {
      const unchecked = { ...change, udpChecksum: false };
      await start(({ a, b }) => tunnelBy("ipv6", a, b, unchecked));
      expect(programmed()?.message).toMatch(/no UDP checksum.*RFC 6935.*udp6_csum_rx off/);
      const pod = await attach(near, "10.1.0.1/24");
      // The peer drops datagrams without checksum, and sends no error.
      const ipVersion = 6;
      if (isKernel) await addKernelPeer(net.b, net.a, { ipVersion, address: `${FAR}/24` });
      else {
        const far = new TestAgent(net.b);
        agents.push(far);
        const tunnel = tunnelBy("ipv6", net.b, net.a, { fastPath: false });
        far.write("all.yaml", [tunnel, sessionObject("lan", "t")]);
        await far.start();
        await attach(far, `${FAR}/24`);
      }
      background.start(inside(pod, "ping", "-i", "0.2", FAR));
      await until("the doctor reports it", async () =>
        (await findings()).includes("without a UDP checksum, and receives nothing"),
      );
      const [, far] = agents;
      if (far !== undefined) {
        await until("the peer's doctor reports it", async () =>
          /the node dropped \d+ UDP datagrams over IPv6.*udpChecksum: false/.test(
            await findings(far),
          ),
        );
        const accepting = tunnelBy("ipv6", net.b, net.a, { udpChecksum: false, fastPath: false });
        far.write("all.yaml", [accepting, sessionObject("lan", "t")]);
        await until("frames cross", () => ping(pod, FAR));
      }
    });

    it("is reported by the doctor if the peer sends no checksums, and this end requires them", async () => {
      await start(({ a, b }) => tunnelBy("ipv6", a, b, change));
      const far = await addFarEnd("ipv6", false);
      await attach(near, "10.1.0.1/24");
      await until("the doctor reports it", async () =>
        /the node dropped \d+ UDP datagrams over IPv6.*spec\.udpChecksum: false/.test(
          await findings(),
        ),
      );
      near.write("all.yaml", [
        tunnelBy("ipv6", net.a, net.b, { ...change, udpChecksum: false }),
        sessionObject("lan", "t"),
      ]);
      await until("frames cross", () => ping(far, "10.1.0.1"));
    });
  });
}

/**
 * A quiescent tunnel with another implementation: go-l2tp's ql2tpd, with the kernel's L2TP for frames. Only
 * l2tp-cni sends HELLO, since ql2tpd 0.1.8 ignores the acknowledgments of its own HELLOs (`sendHelloMessage` does
 * not queue them), and gives up after three. No cookies are used, since ql2tpd sends the cookie that it must require.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { session, tunnel, tunnelControl } from "../../model/testdata.ts";
import { TestDatapath } from "../harness/datapath.ts";
import { inside, ip, ping, TestNet } from "../harness/net.ts";
import { Background, stop } from "../harness/run.ts";
import { PEERS } from "../harness/vm.ts";
import { until } from "../harness/wait.ts";

const [TUNNEL, PEER_TUNNEL, SESSION, PEER_SESSION, PORT] = [90, 42, 9000, 12389, 5000];
let net: TestNet;
let ours: TestDatapath;
let folder: string;
const background = new Background();

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  ours = new TestDatapath(net.b);
  folder = mkdtempSync(join(tmpdir(), "ql2tpd-"));
  const config = `
    [tunnel.t1]
    version = "l2tpv3"
    encap = "udp"
    local = "${net.a.ipv4}:${PORT}"
    peer = "${net.b.ipv4}:${PORT}"
    tid = ${PEER_TUNNEL}
    ptid = ${TUNNEL}
    hello_timeout = 600000
    [tunnel.t1.session.s1]
    pseudowire = "eth"
    sid = ${PEER_SESSION}
    psid = ${SESSION}
    interface_name = "far0"
  `;
  writeFileSync(join(folder, "ql2tpd.toml"), config.replaceAll(/^ +/gm, ""));
  await ours.start();
});

afterAll(async () => {
  await background.stopAll();
  await ours.destroy();
  await net.remove();
  rmSync(folder, { recursive: true });
});

const control = async () => (await ours.list()).tunnels[0]?.control;

// Debian has the package since trixie.
it.skipIf(!existsSync(PEERS))("frames cross, and the state of the peer is detected", async () => {
  await ours.apply(
    {
      op: "putTunnel",
      tunnel: tunnel({
        ...{ tunnelId: TUNNEL, peerTunnelId: PEER_TUNNEL },
        local: { address: net.b.ipv4, port: PORT },
        remote: { address: net.a.ipv4, port: PORT },
        control: tunnelControl({
          mode: "Quiescent",
          helloMs: 1000,
          deadAfterMs: 20_000,
          retransmitMs: 4000,
        }),
      }),
    },
    {
      op: "putSession",
      session: session({
        ...{ sessionId: SESSION, peerSessionId: PEER_SESSION },
        l2SpecificSublayer: "None",
      }),
      device: { netns: null, name: "near0" },
    },
  );
  let log = "";
  const daemon = background.start(
    inside(net.a.name, `${PEERS}ql2tpd`, "-config", join(folder, "ql2tpd.toml"), "-verbose"),
    (text) => {
      log += text;
    },
  );
  try {
    await until("the peer has its device", () =>
      ip(net.a.name, "addr", "add", "10.1.0.1/24", "dev", "far0"),
    );
    await ip(net.a.name, "link", "set", "far0", "up");
    await ip(net.b.name, "addr", "add", "10.1.0.2/24", "dev", "near0");
    await ip(net.b.name, "link", "set", "near0", "up");
    await until("frames cross", () => ping(net.b.name, "10.1.0.1"));
    // HELLOs sent before the peer started are retransmitted. Later ones are answered at once.
    const before = await until("the peer has answered", async () => {
      const now = await control();
      return now !== undefined && now.sent > 0 && now.unacknowledged === 0 ? now : undefined;
    });
    await until(
      "the peer keeps answering",
      async () => ((await control())?.sent ?? 0) > before.sent + 3,
    );
    const after = await control();
    expect(after).toMatchObject({ state: "established", lastEnding: before.lastEnding });
    expect(after?.retransmitted).toBe(before.retransmitted);
    expect(await ping(net.b.name, "10.1.0.1")).toBe(true);
  } catch (error) {
    console.log(log);
    throw error;
  }
  await stop(daemon, "SIGKILL");
  await until(
    "the peer is detected as down",
    async () => (await control())?.state !== "established",
  );
});

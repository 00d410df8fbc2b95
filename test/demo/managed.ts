/** `make demo-managed`: a managed tunnel with a backup. The peer is killed, and recovers. */
import { TestAgent } from "../harness/agent.ts";
import { inside } from "../harness/net.ts";
import { managedSession, managedTunnel } from "../harness/objects.ts";
import { pingReturns } from "../harness/ping-returns.ts";
import { until } from "../harness/wait.ts";
import { attach, l2tpctl, perform, pings, say, show } from "./stage.ts";

/** deadAfter in seconds. */
const BOUND = 2;
const CONTROL = {
  hello: { interval: "1s", deadAfter: `${BOUND}s` },
  secretRef: { namespace: "infra", name: "hub", key: "secret" },
};
/** The same host is behind both hubs. */
const SERVICE = { ips: ["10.1.0.2/24"], mac: "02:00:5e:00:53:01" };
const INTERVAL_SECONDS = 0.02;

const seconds = (milliseconds: number): string => (milliseconds / 1000).toFixed(2);

await perform(async ({ net, agents, servers }) => {
  const third = await net.addHost();
  const [branch, hub, spare] = [new TestAgent(net.a), new TestAgent(net.b), new TestAgent(third)];
  agents.push(branch, hub, spare);
  say(`A branch (${net.a.ipv4}), a hub (${net.b.ipv4}), and a backup hub (${third.ipv4})`);
  const backup = [{ address: third.ipv4 }];
  const session = managedSession("lan", "hub");
  branch.write("hub.yaml", [managedTunnel("hub", net.a, net.b, CONTROL, { backup }), session]);
  for (const each of [hub, spare]) {
    const control = { ...CONTROL, initiate: false, role: "LNS" };
    each.write("hub.yaml", [managedTunnel("hub", each.host, net.a, control), session]);
  }
  for (const each of [branch, hub, spare]) each.writeSecret("infra", "hub", "secret", "s3cret\n");
  const isThere = () => branch.condition("l2tptunnel", "hub", "Redundant")?.status === "True";

  say("An L2tpTunnel with spec.control and spec.backup: the ends negotiate IDs and cookies");
  await Promise.all([branch, hub, spare].map((each) => each.start()));
  const pod = await net.addPod("pod");
  await attach(branch, pod, "shop/web", "lan", { ips: ["10.1.0.1/24"] });
  for (const [index, each] of [hub, spare].entries()) {
    await attach(
      each,
      await net.addPod(`service-${index}`),
      `shop/service-${index}`,
      "lan",
      SERVICE,
    );
  }
  await until("hub and backup are connected", isThere);
  show(await pings(pod, "10.1.0.2"));
  show(await l2tpctl(branch, "tunnels"));

  say(`Agent and datapath of the hub are killed; the branch detects that after ${BOUND} s`);
  let log = "";
  const ping = ["ping", "-D", "-i", String(INTERVAL_SECONDS), "10.1.0.2"];
  servers.start(inside(pod, ...ping), (text) => {
    log += text;
  });
  await until("pings are answered", () => pingReturns(log).length > 50);
  await hub.kill();
  process.kill(await hub.datapathPid(), "SIGKILL");
  const killed = Date.now();
  const first = await until("the backup forwards", () =>
    // Early replies belong to pings sent before.
    pingReturns(log).find(({ at }) => at > killed + 5000 * INTERVAL_SECONDS),
  );
  show(`The backup forwards the pings, after a pause of ${seconds(first.at - killed)} s`);
  const why = () => branch.condition("l2tptunnel", "hub", "Redundant");
  await until("the condition reports the failover", () => why()?.reason === "OnBackup");
  show(await l2tpctl(branch, "tunnels"));

  say("The hub is restarted");
  const before = pingReturns(log).length;
  await hub.start();
  await until("the tunnel fails back to the hub", isThere);
  await until("pings are answered", () => pingReturns(log).length > before + 100);
  const since = pingReturns(log).slice(before - 1);
  const gaps = since.slice(1).map(({ at }, index) => at - (since[index]?.at ?? 0));
  show(await l2tpctl(branch, "tunnels", "-o", "wide"));
  show(`The longest pause between two pings during failback: ${seconds(Math.max(...gaps))} s`);
});

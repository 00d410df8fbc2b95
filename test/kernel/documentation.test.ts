/** Runs the blocks of pages with `ip l2tp` at the peer. */
import { afterEach, expect, it } from "vitest";
import { Boxes } from "../harness/box.ts";
import { blocksOf, pagesOf, type RunPage } from "../harness/pages.ts";
import { run, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const [FAR_END, EDGE] = pagesOf("test/kernel/documentation.test.ts") as [RunPage, RunPage];
const REPLIES = "3 packets transmitted, 3 received";

let boxes: Boxes;

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(boxes.log);
  await boxes.destroy();
});

it(`${EDGE.page}: a pod reaches the peer, and nothing is left after removal`, async () => {
  boxes = await Boxes.create({ edge: "192.0.2.1", router: "198.51.100.7" });
  const output = await boxes.run(EDGE);
  expect(output).toContain(REPLIES);
  expect(output).toMatch(/^branch +Up /m);
  const left = "ls /etc/cni/net.d /opt/cni/bin /usr/local/bin /run/netns; ip l2tp show tunnel";
  const { stdout } = await tryRun(boxes.at("edge").command("sh", "-c", left));
  expect(stdout).not.toMatch(/branch|l2tp-|pod|Tunnel/);
});

it(`${FAR_END.page}: the node's objects and the commands for Linux fit together`, async () => {
  boxes = await Boxes.create({ edge: "192.0.2.1", router: "198.51.100.7" });
  const edge = boxes.at("edge");
  const [objects] = blocksOf(FAR_END.page).filter(({ language }) => language === "yaml");
  const type = (text: string) =>
    edge.shell.run({ page: FAR_END.page, line: 0, language: "sh", words: [], text, notRun: null });
  await type(`cat > /etc/l2tp-cni/a.yaml <<'YAML'\n${objects?.text}YAML\nip netns add pod\n`);
  await edge.start("bin/l2tp-agent --manifests /etc/l2tp-cni --node worker-1");
  await boxes.run(FAR_END);
  const config = '{"cniVersion": "1.0.0", "name": "a", "type": "l2tp", "session": "shop/lan"}';
  await type(`export CNI_CONTAINERID=try CNI_NETNS=/run/netns/pod CNI_IFNAME=net1 CNI_PATH=/opt/cni
echo '${config}' | CNI_COMMAND=ADD dist/l2tp
ip -n pod address add 10.1.0.2/24 dev net1
`);
  await until("frames cross", async () =>
    (await run(edge.command("ip", "netns", "exec", "pod", "ping", "-c", "3", "10.1.0.1"))).includes(
      REPLIES,
    ),
  );
  expect(await run(edge.command("bin/l2tpctl", "sessions"))).toMatch(/^shop\/lan +Up .* 1442 /m);
});

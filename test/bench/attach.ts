import type { TestAgent } from "../harness/agent.ts";

/** Attaches each session to the pod, as l2tp0, l2tp1, …, with an address. */
export async function attachAll(
  agent: TestAgent,
  netns: string,
  keys: readonly string[],
): Promise<void> {
  for (const [index, session] of keys.entries()) {
    const name = `l2tp${index}`;
    const whose = { containerId: "all", cniIfname: name, ifname: name, netns, pod: null };
    const addresses = [`10.${index >> 8}.${index & 255}.1/24`];
    const ipam = { awaitsIpam: false, addresses, routes: [], ipam: null };
    const rest = { network: "bench", mac: null, ...ipam };
    await agent.ask({ op: "attach", ...whose, session, ...rest });
  }
}

/** QEMU's L2TPv3, a C implementation that connects a tunnel socket to a TAP device without a guest. */
import { type Host, inside, ip } from "./net.ts";
import type { Background } from "./run.ts";
import { until } from "./wait.ts";

/**
 * Starts QEMU on a host, and waits until its device exists.
 * @param wire the options of `-netdev l2tpv3`, such as "src=192.0.2.2,dst=192.0.2.1,udp=on,…"
 * @returns QEMU's process ID
 */
export async function startQemu(
  background: Background,
  host: Host,
  device: string,
  wire: string,
): Promise<number> {
  const tap = `tap,id=tap,ifname=${device},script=no,downscript=no`;
  const hubs = ["wire", "tap"].map((id) => `hubport,id=hub${id},hubid=0,netdev=${id}`);
  const netdevs = [`l2tpv3,id=wire,${wire}`, tap, ...hubs].flatMap((item) => ["-netdev", item]);
  const machine = ["qemu-system-x86_64", "-M", "none", "-display", "none"];
  let output = "";
  const { pid = 0 } = background.start(inside(host.name, ...machine, ...netdevs), (text) => {
    output += text;
  });
  await until(`QEMU has ${device}`, () => ip(host.name, "link", "show", device)).catch((error) => {
    throw new Error(`${output}${error}`);
  });
  return pid;
}

import { readFileSync } from "node:fs";

/**
 * True if one of these links of the node is a device of the kernel's L2TP. For such devices rtnetlink reports no kind,
 * but sysfs does (net/l2tp/l2tp_eth.c, l2tpeth_type).
 */
export function hasStrayDevice(names: readonly string[]): boolean {
  return names.some((name) => {
    try {
      return readFileSync(`/sys/class/net/${name}/uevent`, "utf8").includes("DEVTYPE=l2tpeth");
    } catch {
      return false;
    }
  });
}

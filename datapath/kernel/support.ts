/** Probes what this node's kernel supports of L2TP, and loads its modules. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { isErrno } from "../../linux/errno.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import { AF_INET, AF_INET6, requireDatagramProtocol } from "../../linux/socket.ts";
import type { KernelSupport } from "../../model/datapath.ts";
import { IPPROTO_L2TP } from "../tunnel-socket.ts";
import { L2tpNetlink, NoL2tpError } from "./l2tp-netlink.ts";

/** True if the kernel has loaded its L2TP. Unlike all other requests, this one loads no module. */
export function isKernelL2tpLoaded(): boolean {
  return existsSync("/sys/module/l2tp_netlink");
}

/** Opens a socket for notifications of the kernel's L2TP; returns none if it is not loaded. */
export function l2tpNotifications(): NetlinkSocket[] {
  if (!isKernelL2tpLoaded()) return [];
  const l2tp = L2tpNetlink.open(null);
  l2tp.joinNotifications();
  return [l2tp.socket];
}

const MODPROBE_TIMEOUT_MS = 10_000;

/** Returns that the kernel supports nothing, for the reason. */
export function withoutKernel(reason: string): KernelSupport {
  return { UDP: reason, IPv4: reason, IPv6: reason, tags: reason, redirects: reason };
}

/** Probes the kernel. A probe loads the modules: netlink families and protocols are loaded on request. */
export async function probeKernel(): Promise<KernelSupport> {
  try {
    L2tpNetlink.open(null).close();
  } catch (error) {
    if (!(error instanceof NoL2tpError)) throw error;
    return withoutKernel("this kernel has no L2TP or cannot load its module l2tp_netlink");
  }
  // The kernel loads a pseudowire type with its first session: too late to choose another datapath.
  if (!existsSync("/sys/module/l2tp_eth")) await modprobe("l2tp_eth");
  if (!existsSync("/sys/module/l2tp_eth")) {
    return withoutKernel("this kernel cannot load its module l2tp_eth");
  }
  return {
    UDP: null,
    IPv4: probeProtocol("IPv4"),
    IPv6: probeProtocol("IPv6"),
    tags: await whyNotModules(TAG_MODULES, "VLAN tags require"),
    redirects: await whyNotModules(REDIRECT_MODULES, "switches require"),
  };
}

/** The parts of tc that rewrite VLAN tags (linux/netlink/tag-filter.ts). */
const TAG_MODULES = ["sch_ingress", "cls_flower", "act_gact", "act_vlan"] as const;

/** The parts of tc that redirect frames to another device (operator/agent/device-redirects.ts). */
const REDIRECT_MODULES = ["sch_ingress", "cls_flower", "act_gact", "act_mirred"] as const;

/**
 * Loads the modules. Returns why the kernel lacks one; null: all are loaded.
 * @param purpose "VLAN tags require"
 */
async function whyNotModules(modules: readonly string[], purpose: string): Promise<string | null> {
  for (const name of modules) {
    if (!existsSync(`/sys/module/${name}`) && !(await modprobe(name))) {
      return `this kernel cannot load its module ${name}, which ${purpose}`;
    }
  }
  return null;
}

function probeProtocol(family: "IPv4" | "IPv6"): string | null {
  try {
    requireDatagramProtocol(family === "IPv4" ? AF_INET : AF_INET6, IPPROTO_L2TP, "L2TP");
    return null;
  } catch (error) {
    if (!isErrno(error, "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EAFNOSUPPORT")) throw error;
    const name = family === "IPv4" ? "l2tp_ip" : "l2tp_ip6";
    return `this kernel cannot load its module ${name}`;
  }
}

/** @returns true if the kernel has the module now, loaded or built in */
function modprobe(name: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile("modprobe", ["-q", name], { timeout: MODPROBE_TIMEOUT_MS }, (error) =>
      resolve(error === null),
    );
  });
}

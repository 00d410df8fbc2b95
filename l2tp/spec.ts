/** Tunnels and sessions as users write them (l2tp.dev/v1alpha1), defaults filled in, secrets resolved. */

export interface TunnelSpec {
  nodeName: string;
  encapsulation: "UDP" | "IP";
  local?: { address?: string; interface?: string; port?: number };
  remote: { address: string; port?: number };
  tunnelId?: number;
  peerTunnelId: number;
  datapath?: "Auto" | "Kernel" | "Userspace";
  udpChecksum?: boolean;
  allowedNamespaces?: {
    from?: "All" | "Selector";
    selector?: { matchLabels?: Record<string, string> };
  };
}

export interface SessionSpec {
  tunnelRef: { name: string };
  sessionId?: number;
  peerSessionId: number;
  pseudowireType?: "Ethernet";
  l2SpecificSublayer?: "Default" | "None";
  cookies?: { receive?: CookieSpec; transmit?: CookieSpec };
  sequencing?: { send?: boolean; receive?: boolean; reorderTimeout?: string };
  mtu?: number;
  attachment?: { mode?: "Direct" | "Bridge" };
}

export interface CookieSpec {
  /** 8 or 16 hexadecimal digits. */
  value?: string;
  valueFrom?: { secretKeyRef: { name: string; key: string } };
}

/** A field of an object that cannot be, and what could. */
export interface FieldProblem {
  /** "spec.remote.address". */
  readonly path: string;
  /** What stands there; never a secret. */
  readonly value: unknown;
  readonly reason: string;
  readonly remedy: string;
}

export function describeProblem(problem: FieldProblem): string {
  return `${describeFault(problem)}; ${problem.remedy}`;
}

/** Without the remedy. */
export function describeFault({ path, value, reason }: FieldProblem): string {
  const shown = value === undefined ? "" : ` ${JSON.stringify(value)}`;
  return `${path}${shown}: ${reason}`;
}

/**
 * Traits of a datapath, which plan, resolution and agent ask instead of its name. Each datapath defines its traits in
 * datapath/NAME/traits.ts; datapath/registry/datapaths.ts lists them.
 */
import type { EstablishedSession } from "../l2tp/control/session.ts";
import type { OrderWitness } from "../l2tp/order-witness.ts";
import type { Session, Tunnel } from "./model.ts";
import type { PseudowireType } from "./pseudowires/index.ts";

/** The change that a programmed tunnel or session needs. */
export type Difference =
  | "none"
  /** It can be changed without being recreated. */
  | "inPlace"
  /** It must be deleted and recreated. */
  | "replace";

/** A kind of network device. Several datapaths can create the same kind. */
export interface DeviceKind {
  /** The name in links and in files of attachments. */
  readonly name: string;
  /** The kinds of such a link in rtnetlink; "" if rtnetlink reports none. */
  readonly linkKinds: readonly string[];
  /**
   * True if the device exists as long as its session in the kernel: it cannot be deleted otherwise, and returns to the
   * node when a pod's namespace is removed.
   */
  readonly isSessions: boolean;
  /** Returns the session ID in the name of a new device; undefined: the name has none. */
  sessionIdOf(name: string): number | undefined;
}

/** Reasons why the kernel datapath cannot have a tunnel, by encapsulation; null: it can. */
export interface KernelSupport {
  readonly UDP: string | null;
  /** Protocol 115 over IPv4, and over IPv6. */
  readonly IPv4: string | null;
  readonly IPv6: string | null;
  /** The reason why tc cannot rewrite VLAN tags; null or absent: it can. */
  readonly tags?: string | null;
  /** The reason why tc cannot redirect frames between devices; null or absent: it can. */
  readonly redirects?: string | null;
}

/** Properties of the node that decide which tunnels a datapath can have. */
export interface Host {
  readonly kernel: KernelSupport;
  /** True if no configuration names this datapath, so it must not be a disadvantage for the tunnel. */
  readonly isOpen: boolean;
}

/** The forwarding of a session's frames. */
export interface Forwarding {
  readonly session: Session;
  /** True if its device must be up. */
  readonly isUp: boolean;
}

export interface WantedSession {
  readonly session: Session;
  readonly tunnel: Tunnel;
}

/** A session and its tunnel as programmed; undefined: not programmed. */
export interface LiveSession {
  readonly tunnel: Tunnel | undefined;
  readonly session:
    | {
        readonly session: Session;
        readonly datapath: string;
        readonly forwarding?: Session | null;
        readonly established: EstablishedSession | null;
      }
    | undefined;
}

export interface DatapathTraits {
  /** Unique; `Tunnel.datapath` has it. */
  readonly name: string;
  /** The value of spec.datapath. Several datapaths can have the same value, and serve different tunnels. */
  readonly apiName: string;
  /** A noun phrase for messages: "the kernel datapath". */
  readonly label: string;

  readonly device: DeviceKind;
  /** The name of a session's device on the node. */
  deviceName(
    session: Pick<Session, "sessionId" | "deviceId" | "l2SpecificSublayer" | "pseudowireType">,
  ): string;
  /**
   * True if the datapath creates a session's device on the node, named by `deviceName`, when it starts to forward the
   * session's frames, and deletes the device when it stops. Otherwise it opens a device at its place, and does not
   * delete it.
   */
  readonly makesDevices: boolean;
  /** True if a session stays when its device is deleted. */
  readonly sessionsOutliveDevices: boolean;
  /** True if a device can show by its carrier that the peer's circuit is down. */
  readonly hasCarrier: boolean;
  /** True if received frames can have the session's cookie or its previous cookie. */
  readonly acceptsPreviousCookie: boolean;
  /** True if the datapath can drop frames with another source MAC address than the pod's. */
  readonly filtersSourceMac: boolean;

  /** True if a tunnel exists only while it has sessions, because only sessions tell its name. */
  readonly tunnelsNeedSessions: boolean;
  /** True if a session is deleted with its tunnel; false: it can be moved to another tunnel first. */
  readonly sessionsNeedTunnel: boolean;
  /** Tunnels of the datapath that can share a local UDP port: all, none, or those with different remotes. */
  readonly ports: "shared" | "exclusive" | "perRemote";

  /** True if the datapath requires the datapath process. */
  readonly needsProcess: boolean;
  readonly needsKernelL2tp: boolean;

  tunnelDifference(known: Tunnel, wanted: Tunnel): Difference;
  /** Compares the forwarding of two sessions. */
  sessionDifference(known: Session, wanted: Session): Difference;

  /** True if this datapath serves such a tunnel, rather than another datapath of the same `apiName`. */
  serves(tunnel: Tunnel): boolean;
  /** Returns why the datapath cannot have the tunnel; null: it can. */
  whyNot(tunnel: Tunnel, host: Host): string | null;
  /**
   * Returns why the datapath cannot carry sessions of the type; null: it can.
   * @param kernel support of the node's kernel; absent: full support
   */
  whyNotPseudowire(type: PseudowireType, kernel?: KernelSupport): string | null;

  /** Returns a predictor of what the datapath does with received sequence numbers; null: it ignores them. */
  witnessOrder(session: Session): OrderWitness | null;

  /** True if frames are forwarded only after negotiation, and the device does not exist before. */
  waitsForAgreement(wanted: WantedSession): boolean;
  /** Returns the forwarding of a session; null: not now. A session that does not wait is forwarded as configured. */
  forwarding(wanted: WantedSession, live: LiveSession): Forwarding | null;
}

/** Looks up a datapath's traits by its name. */
export type TraitsOf = (datapath: string) => DatapathTraits;

/** Returns the session as its frames are forwarded; null: they are not forwarded. */
export function forwardedSession({
  session,
  forwarding,
}: {
  readonly session: Session;
  readonly forwarding?: Session | null;
}): Session | null {
  return forwarding === undefined ? session : forwarding;
}

/** Traits of a datapath that forwards all sessions as configured. */
export const FORWARDS_AS_PUT = {
  waitsForAgreement: () => false,
  forwarding: ({ session }: WantedSession): Forwarding => ({ session, isUp: true }),
} as const;

/**
 * What a datapath is to the plan, to the resolution of objects and to the agent: traits, which they ask instead of its
 * name. Each datapath's folder has its own (datapath/NAME/traits.ts), and datapath/registry/datapaths.ts all of them.
 */
import type { EstablishedSession } from "../l2tp/control/session.ts";
import type { OrderWitness } from "../l2tp/order-witness.ts";
import type { Session, Tunnel } from "./model.ts";
import type { PseudowireType } from "./pseudowires/index.ts";

/** What it takes to make a tunnel or a session that is there what it should be. */
export type Difference =
  | "none"
  /** It can be changed where it stands. */
  | "inPlace"
  /** It must go, and another take its place. */
  | "replace";

/** A kind of network device. Several datapaths may make one kind. */
export interface DeviceKind {
  /** Links and the files of attachments have it. */
  readonly name: string;
  /** The kinds by which rtnetlink knows such a link; "" where it names none. */
  readonly linkKinds: readonly string[];
  /**
   * It exists as long as its session in the kernel: nobody can delete it otherwise, and it returns to the node when a
   * pod's namespace dies.
   */
  readonly isSessions: boolean;
  /** The session ID that the name of a new device tells, if it tells one. */
  sessionIdOf(name: string): number | undefined;
}

/** Why the kernel's L2TP cannot have a tunnel; null: it can. */
export interface KernelSupport {
  readonly UDP: string | null;
  /** Protocol 115 over IPv4, and over IPv6. */
  readonly IPv4: string | null;
  readonly IPv6: string | null;
  /** Why its tc cannot rewrite VLAN tags; null, or left out: it can. */
  readonly tags?: string | null;
  /** Why its tc cannot redirect frames between devices; null, or left out: it can. */
  readonly redirects?: string | null;
}

/** The node, as far as it decides which tunnels a datapath can have. */
export interface Host {
  readonly kernel: KernelSupport;
  /** Nobody asked for this datapath: a tunnel should have no disadvantage by it. */
  readonly isOpen: boolean;
}

/** How the frames of a session are to be forwarded. */
export interface Forwarding {
  readonly session: Session;
  /** Whether its device is to be up. */
  readonly isUp: boolean;
}

export interface WantedSession {
  readonly session: Session;
  readonly tunnel: Tunnel;
}

/** A session and its tunnel as they are programmed; undefined: not. */
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
  /** The value of spec.datapath that asks for it. Several may have one, and serve different tunnels. */
  readonly apiName: string;
  /** Begins a sentence of a status. */
  readonly label: string;

  readonly device: DeviceKind;
  /** The name of a session's device on the node. */
  deviceName(session: Pick<Session, "sessionId" | "l2SpecificSublayer" | "pseudowireType">): string;
  /**
   * The datapath makes the device of a session when it begins to forward the session's frames, on the node and by
   * `deviceName`, and takes it along when it ends. Otherwise it opens a device where that is to stand, and leaves it.
   */
  readonly makesDevices: boolean;
  /** A session stays when its device is deleted. */
  readonly sessionsOutliveDevices: boolean;
  /** A device can show that the peer's circuit is down. */
  readonly hasCarrier: boolean;
  /** Frames of a device with another source address than the pod's can be dropped. */
  readonly filtersSourceMac: boolean;

  /** A tunnel without sessions is not there, as nothing else tells whose it is. */
  readonly tunnelsNeedSessions: boolean;
  /** A session goes with its tunnel; otherwise it can be put into another before. */
  readonly sessionsNeedTunnel: boolean;
  /** Tunnels on one local UDP port: any of the datapath's, none, or those with other remotes. */
  readonly ports: "shared" | "exclusive" | "perRemote";

  /** The agent needs the datapath process for it. */
  readonly needsProcess: boolean;
  readonly needsKernelL2tp: boolean;

  tunnelDifference(known: Tunnel, wanted: Tunnel): Difference;
  /** Compares two sessions as their frames are forwarded. */
  sessionDifference(known: Session, wanted: Session): Difference;

  /** True if the tunnel is one for this datapath rather than for another of the same `apiName`. */
  serves(tunnel: Tunnel): boolean;
  /** Why it cannot have the tunnel; null: it can. */
  whyNot(tunnel: Tunnel, host: Host): string | null;
  /**
   * Why it cannot carry sessions of the type; null: it can.
   * @param kernel of the node; left out: of one that can do all
   */
  whyNotPseudowire(type: PseudowireType, kernel?: KernelSupport): string | null;

  /** Says what the datapath does with received frames by their numbers; null: it does not look at them. */
  witnessOrder(session: Session): OrderWitness | null;

  /** Frames are forwarded by ids that the ends have agreed on, and there is no device before. */
  waitsForAgreement(wanted: WantedSession): boolean;
  /** How the frames of a session are to be forwarded; null: not, for now. One that does not wait: as it is put. */
  forwarding(wanted: WantedSession, live: LiveSession): Forwarding | null;
}

/** Looks a datapath's traits up by its name. */
export type TraitsOf = (datapath: string) => DatapathTraits;

/** The session as its frames are forwarded; null: they are not. */
export function forwardedSession({
  session,
  forwarding,
}: {
  readonly session: Session;
  readonly forwarding?: Session | null;
}): Session | null {
  return forwarding === undefined ? session : forwarding;
}

/** Traits of a datapath that forwards all sessions as they are put. */
export const FORWARDS_AS_PUT = {
  waitsForAgreement: () => false,
  forwarding: ({ session }: WantedSession): Forwarding => ({ session, isUp: true }),
} as const;

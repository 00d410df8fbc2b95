/**
 * The agent's view of its node, and how it changes it: observe → plan → apply, over everything or over
 * one session. Callers see to it that one call runs at a time (serial.ts).
 */

import { statSync } from "node:fs";
import type { Listing } from "../../datapath/datapath.ts";
import type { Names } from "../../datapath/kernel/adopt.ts";
import { isAbsent } from "../../datapath/userspace/client.ts";
import { deleteLink, getLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { OWN_NETNS } from "../../linux/netns.ts";
import { deviceName } from "../../model/device-name.ts";
import { halfName, isControlHalf, wholeName } from "../../model/halves.ts";
import { linkId } from "../../model/link-label.ts";
import { type Action, type Desired, type Link, type Observed, plan } from "../../model/plan.ts";
import { type Attachment, attachmentKey } from "../resolve/attachment.ts";
import {
  bridgeName,
  desireLinks,
  desireSession,
  portName,
  type Spared,
  sparing,
} from "../resolve/desired.ts";
import { carriers, inHalves, isAgreedOn } from "../resolve/halves.ts";
import type { Resolved, ResolvedSession } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import { type Holding, holdUnknown, keepBridge } from "../resolve/unreadable.ts";
import { applyPlan } from "./apply.ts";
import type { AttachmentStore } from "./attachments.ts";
import type { Datapaths } from "./datapaths.ts";
import { assemble, makerOf, observeLinks, observeSome } from "./observe.ts";
import { linkOf, PodDevices } from "./pod-devices.ts";
import { findLinkIn, isAlive } from "./pod-netns.ts";
import { type PortGuard, portGuards, settleGuards, withGuardDrops } from "./port-guards.ts";

interface PassResult {
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

/** What stands on the node before a pass. */
export interface Observation {
  /** In halves (model/halves.ts), as the data planes have it. */
  readonly listing: Listing;
  readonly observed: Observed;
  readonly living: readonly Attachment[];
}

/** What there is of one session. */
interface Seen {
  readonly listing: Listing;
  readonly observed: Observed;
}

function idsOf(session: string, attachment: Attachment): ReadonlySet<string> {
  const key = attachmentKey(attachment);
  return new Set([
    linkId.pseudowire(session),
    linkId.bridge(session),
    linkId.port(key),
    linkId.pod(key),
  ]);
}

export class Node {
  readonly socket = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly datapaths: Datapaths;
  readonly #name: string;
  readonly #attachments: AttachmentStore;
  readonly #devices: PodDevices;
  /** Of what the last pass wanted: for who looks in between. */
  #tunnels: ReadonlyMap<number, string> = new Map();
  #sessions: ReadonlyMap<number, string> = new Map();
  /** Of the bridge ports that the last pass wanted. */
  #guards: readonly PortGuard[] = [];
  #held: ReadonlySet<string> = new Set();

  constructor(name: string, datapaths: Datapaths, attachments: AttachmentStore) {
    this.#name = name;
    this.datapaths = datapaths;
    this.#attachments = attachments;
    this.#devices = new PodDevices(attachments);
  }

  close(): void {
    this.socket.close();
    this.datapaths.close();
  }

  /** The names of tunnels by their ids, as the last pass wanted them. */
  get tunnelNames(): ReadonlyMap<number, string> {
    return this.#tunnels;
  }

  /** Keys of the sessions that the last pass left alone, for an attachment that cannot be read. */
  get held(): ReadonlySet<string> {
    return this.#attachments.unreadable.length === 0 ? new Set() : this.#held;
  }

  /** What is programmed and how it does, in halves, for whoever asks. */
  async look(): Promise<Listing> {
    const listing = await this.datapaths.look({
      sessions: this.#sessions,
      tunnelName: (id) => this.#tunnels.get(id),
    });
    return withGuardDrops(listing, this.socket, this.#guards);
  }

  /**
   * @param unlabelled if devices may be in unknown pods, where labels are not seen: the keys of
   * sessions by their ids
   */
  async observe(
    tunnelName: Names["tunnelName"],
    unlabelled: ReadonlyMap<number, string> | null = null,
  ): Promise<Observation> {
    const living = [...this.#attachments.all()].filter(isAlive);
    const seen = observeLinks(this.socket, [...this.#attachments.all()], living);
    this.#devices.adopt(living, seen.links);
    const sessions = new Map([...(unlabelled ?? []), ...seen.kernelSessions]);
    const listing = await this.datapaths.list({ sessions, tunnelName }, unlabelled !== null);
    const known = living.map((attachment) => this.#current(attachment));
    return { listing, observed: assemble(listing, seen, known), living: known };
  }

  #current(attachment: Attachment): Attachment {
    return this.#attachments.get(attachmentKey(attachment)) ?? attachment;
  }

  /** The interface of an attachment as it is now. */
  podLink(attachment: Attachment): Link | undefined {
    const scope = { ids: idsOf(attachment.session, attachment), names: [], attachment };
    const { links } = observeSome(this.socket, [...this.#attachments.all()], scope);
    return linkOf(attachment, new Map(links.map((link) => [link.id, link])));
  }

  /** The interfaces of living pods as they are now, by the IDs of the links. */
  presentLinks(): ReadonlyMap<string, Link> {
    const living = [...this.#attachments.all()].filter(isAlive);
    const { links } = observeLinks(this.socket, [...this.#attachments.all()], living);
    return new Map(links.map((link) => [link.id, link]));
  }

  /** Makes the whole node what `resolved` and the attachments say. */
  async converge(
    resolved: Pick<Resolved, "tunnels" | "sessions">,
    spared: Spared,
    { observed: seen, living, listing }: Observation,
  ): Promise<PassResult> {
    const attached = Map.groupBy(
      living.filter(({ leaving }) => !leaving),
      ({ session }) => session,
    );
    const whole = {
      tunnels: inHalves(Array.from(resolved.tunnels.values(), ({ tunnel }) => tunnel)),
      ...desireLinks(
        resolved.sessions.values(),
        attached,
        this.#name,
        carriers(listing),
        this.#devices.known(living, seen.links),
      ),
    };
    this.#devices.forget(living);
    const { desired, observed, held } = this.#hold(whole, seen);
    this.#held = held;
    const spare = sparing(desired, observed, spared);
    this.#tunnels = new Map(
      spare.tunnels.flatMap(({ tunnelId, name }) =>
        isControlHalf(name) ? [] : [[tunnelId, name] as const],
      ),
    );
    this.#sessions = new Map(
      spare.sessions.flatMap(({ session: { sessionId, key } }) =>
        isControlHalf(key) ? [] : [[sessionId, key] as const],
      ),
    );
    this.#guards = portGuards(resolved.sessions.values(), (key) => attached.get(key) ?? []);
    const result = await this.#apply(spare, observed, plan(spare, observed), this.#guards);
    this.#devices.record([...attached.values()].flat(), { desired: spare, observed, ...result });
    this.#devices.recordReturned({ desired: spare, observed, ...result });
    return result;
  }

  #hold(desired: Desired, observed: Observed): Holding {
    const { unreadable } = this.#attachments;
    if (unreadable.length === 0) return { desired, observed, held: new Set() };
    return holdUnknown(desired, observed, [...this.#attachments.all()]);
  }

  /** What an attachment and its session lack: nothing where all is as it should be. */
  async planFor(
    resolved: ResolvedSession,
    attachment: Attachment,
  ): Promise<{ desired: Desired; observed: Observed; actions: Action[] }> {
    const { session, tunnel } = resolved;
    const ids = idsOf(session.key, attachment);
    const looking = isAgreedOn(resolved)
      ? this.#lookForHalves(resolved, ids)
      : this.#lookForOne(resolved, attachment, ids);
    looking.catch(() => {});
    const { listing, observed: seen } = await looking;
    const attachments = this.#attachments.livingOf(session.key);
    const carried = carriers(listing)(resolved);
    const present = this.#devices.known(attachments, seen.links);
    const whole = desireSession(resolved, attachments, this.#name, carried, present);
    // Where nobody is attached, a session that could not be programmed need not be now.
    const hasLink = whole.sessions.some(({ link }) => link !== null);
    const isIdle = !hasLink && listing.sessions.length === 0;
    const tunnels = inHalves([tunnel]);
    const wanted: Desired = {
      tunnels,
      sessions: isIdle ? [] : whole.sessions,
      links: whole.links.filter(({ id }) => ids.has(id)),
      pairs: whole.pairs.filter(({ port }) => ids.has(port)),
    };
    // The tunnel is a matter of the next whole pass.
    const observed = { ...seen, tunnels };
    const desired = this.held.has(session.key) ? keepBridge(wanted, observed) : wanted;
    return { desired, observed, actions: plan(desired, observed) };
  }

  /** What there is of a session and one of its attachments. */
  async #lookForOne(
    resolved: ResolvedSession,
    attachment: Attachment,
    ids: ReadonlySet<string>,
  ): Promise<Seen> {
    const { session, tunnel } = resolved;
    // The datapath answers while the kernel is asked.
    const listed = this.datapaths.find(resolved);
    listed.catch(() => {});
    const seen = observeSome(this.socket, [...this.#attachments.all()], {
      ids,
      names: [
        deviceName(session, tunnel.datapath),
        bridgeName(session.sessionId),
        portName(attachment),
      ],
      attachment: isAlive(attachment) ? attachment : null,
    });
    const listing = await listed;
    return { listing, observed: assemble(listing, seen, isAlive(attachment) ? [attachment] : []) };
  }

  /** The same where the kernel's half has an id that only the control half tells: among all there is. */
  async #lookForHalves(
    { session: { key } }: ResolvedSession,
    ids: ReadonlySet<string>,
  ): Promise<Seen> {
    const { listing, observed } = await this.observe((id) => this.#tunnels.get(id));
    const isOf = ({ session }: { session: { key: string } }) => wholeName(session.key) === key;
    return {
      listing: { ...listing, sessions: listing.sessions.filter(isOf) },
      observed: {
        ...observed,
        sessions: observed.sessions.filter(isOf),
        links: observed.links.filter(({ id }) => ids.has(id)),
      },
    };
  }

  /** Why no pod can have the session now; null: it can. */
  async whyNotAgreed(resolved: ResolvedSession): Promise<string | null> {
    if (!isAgreedOn(resolved)) return null;
    const { session } = resolved;
    const { sessions } = await this.datapaths.userspace.list([halfName(session.key)]);
    const isThere = sessions[0]?.session.tunnel === halfName(session.tunnel);
    const control = isThere ? sessions[0]?.control : undefined;
    if (control?.established) return null;
    return control?.lastEnding?.why ?? "the ends have not agreed on it yet";
  }

  /** Makes one attachment and its session what they should be. */
  async convergeFor(resolved: ResolvedSession, attachment: Attachment): Promise<Failures> {
    const { desired, observed, actions } = await this.planFor(resolved, attachment);
    const attachments = this.#attachments.livingOf(resolved.session.key);
    const own = attachments.filter((other) => attachmentKey(other) === attachmentKey(attachment));
    const guards = portGuards([resolved], () => own);
    const result = await this.#apply(desired, observed, actions, guards);
    if (!attachment.leaving) {
      this.#devices.record([this.#current(attachment)], { desired, observed, ...result });
    }
    return result.failures;
  }

  /**
   * Takes an interface away whose session nobody can resolve now: its manifest is broken. The
   * session's own device goes for good; it is made anew when the session is whole again.
   */
  async removeInterface(attachment: Attachment): Promise<void> {
    const { device } = this.#current(attachment);
    if (device?.kind === "pseudowire" && device.datapath !== null) {
      const { session: key } = attachment;
      // The device goes with the session in the kernel, and by the session's word in userspace.
      const ops = device.datapath === "Kernel" ? [] : [{ op: "deleteDevice", key } as const];
      await this.datapaths.apply(device.datapath, [...ops, { op: "deleteSession", key }]);
      await this.#leaveHalf(key);
    }
    if (!device || !isAlive(attachment)) return;
    const socket = new NetlinkSocket(NETLINK_ROUTE, attachment.netns);
    try {
      const link = getLink(socket, device.index);
      const isVeth = device.kind === "pod" && link?.kind === "veth";
      if (isVeth) await deleteLink(socket, attachment.netns, device.index);
    } finally {
      socket.close();
    }
  }

  /**
   * Takes an interface away of which only its name is known, and that ADD has made. Its session has
   * left it.
   * @param netns the pod's, as the runtime says
   */
  async removeLeftInterface(netns: string | null, name: string): Promise<void> {
    const link = netns === null ? undefined : findLinkIn(netns, name);
    if (netns === null || link === undefined || makerOf(link.kind) === undefined) return;
    if (statSync(netns).ino === statSync(OWN_NETNS).ino) return;
    const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
    try {
      await deleteLink(socket, netns, link.index);
    } finally {
      socket.close();
    }
  }

  /** The peer is told, too, where the session was agreed on with it. */
  async #leaveHalf(session: string): Promise<void> {
    try {
      const key = halfName(session);
      const { sessions } = await this.datapaths.userspace.list([key]);
      if (sessions.length > 0) await this.datapaths.userspace.apply([{ op: "deleteSession", key }]);
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  async #apply(
    desired: Desired,
    observed: Observed,
    actions: Action[],
    guards: readonly PortGuard[],
  ): Promise<PassResult> {
    const bridges = [...desired.links, ...observed.links].filter(({ kind }) => kind === "bridge");
    const failures = await applyPlan(actions, {
      socket: this.socket,
      applyChanges: (datapath, changes) => this.datapaths.apply(datapath, changes),
      bridgeNames: new Map(bridges.reverse().map(({ id, name }) => [id, name])),
      present: new Map(observed.links.map((link) => [link.id, link])),
      sessionOfAttachment: (key) => this.#attachments.get(key)?.session,
    });
    // A pod is not told that its interface is there before its port is guarded.
    return { actions, failures: new Map([...settleGuards(this.socket, guards), ...failures]) };
  }
}

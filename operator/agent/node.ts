/**
 * The agent's view of its node, and how it changes it: observe → plan → apply, over everything or over
 * one session. Callers see to it that one call runs at a time (serial.ts).
 */

import { statSync } from "node:fs";
import type { Listing } from "../../datapath/datapath.ts";
import type { Names } from "../../datapath/kernel/adopt.ts";
import { deleteLink, findLink } from "../../datapath/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { OWN_NETNS } from "../../datapath/sys/netns.ts";
import { isAbsent } from "../../datapath/tap/client.ts";
import { deviceName } from "../../l2tp/device-name.ts";
import { halfName, isControlHalf, wholeName } from "../../l2tp/halves.ts";
import { linkId, parseLinkLabel } from "../../l2tp/link-label.ts";
import { type Action, type Desired, type Link, type Observed, plan } from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import {
  bridgeName,
  desireLinks,
  desireSession,
  portName,
  type Spared,
  sparing,
} from "../convert/desired.ts";
import { carriers, inHalves, isAgreedOn } from "../convert/halves.ts";
import { type Holding, holdUnknown, keepBridge } from "../convert/held.ts";
import type { Resolved, ResolvedSession } from "../convert/resolve.ts";
import type { Failures } from "../convert/status.ts";
import { applyPlan } from "./apply.ts";
import type { AttachmentStore } from "./attachments.ts";
import type { Datapaths } from "./datapaths.ts";
import { assemble, kernelLabels, makerOf, observeLinks, observeSome } from "./observe.ts";
import { findLinkIn, isAlive } from "./pod-netns.ts";

interface PassResult {
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

/** What stands on the node before a pass. */
export interface Observation {
  /** In halves (l2tp/halves.ts), as the data planes have it. */
  readonly listing: Listing;
  readonly observed: Observed;
  readonly living: readonly Attachment[];
}

/** What there is of one session. */
interface Seen {
  readonly listing: Listing;
  readonly links: readonly Link[];
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
  /** Of what the last pass wanted: for who looks in between. */
  #tunnels: ReadonlyMap<number, string> = new Map();
  #sessions: ReadonlyMap<number, string> = new Map();
  #held: ReadonlySet<string> = new Set();

  constructor(name: string, datapaths: Datapaths, attachments: AttachmentStore) {
    this.#name = name;
    this.datapaths = datapaths;
    this.#attachments = attachments;
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
  look(): Promise<Listing> {
    return this.datapaths.look({
      sessions: this.#sessions,
      tunnelName: (id) => this.#tunnels.get(id),
    });
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
    const links = observeLinks(this.socket, living);
    const sessions = new Map([...(unlabelled ?? []), ...kernelLabels(links)]);
    const listing = await this.datapaths.list({ sessions, tunnelName }, unlabelled !== null);
    return { listing, observed: assemble(listing, links), living };
  }

  /** Makes the whole node what `resolved` and the attachments say. */
  async converge(
    resolved: Pick<Resolved, "tunnels" | "sessions">,
    spared: Spared,
    { observed: seen, living, listing }: Observation,
  ): Promise<PassResult> {
    const wanted = living.filter(({ leaving }) => !leaving);
    const whole = {
      tunnels: inHalves(Array.from(resolved.tunnels.values(), ({ tunnel }) => tunnel)),
      ...desireLinks(
        resolved.sessions.values(),
        Map.groupBy(wanted, ({ session }) => session),
        this.#name,
        carriers(listing),
      ),
    };
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
    return this.#apply(spare, observed, plan(spare, observed));
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
    const attachments = this.#attachments.livingOf(session.key);
    const { listing, links } = await looking;
    const carried = carriers(listing)(resolved);
    const whole = desireSession(resolved, attachments, this.#name, carried);
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
    const observed = { ...assemble(listing, links), tunnels };
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
    const links = observeSome(this.socket, {
      ids,
      names: [
        deviceName(session, tunnel.datapath),
        bridgeName(session.sessionId),
        portName(attachment),
      ],
      attachment: isAlive(attachment) ? attachment : null,
    });
    return { listing: await listed, links };
  }

  /** The same where the kernel's half has an id that only the control half tells: among all there is. */
  async #lookForHalves(
    { session: { key } }: ResolvedSession,
    ids: ReadonlySet<string>,
  ): Promise<Seen> {
    const { listing, observed } = await this.observe((id) => this.#tunnels.get(id));
    const sessions = listing.sessions.filter(({ session }) => wholeName(session.key) === key);
    return {
      listing: { ...listing, sessions },
      links: observed.links.filter(({ id }) => ids.has(id)),
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
    return (await this.#apply(desired, observed, actions)).failures;
  }

  /**
   * Takes an interface away whose session nobody can resolve now: its manifest is broken. The
   * session's own device goes for good; it is made anew when the session is whole again.
   */
  async removeInterface(attachment: Attachment): Promise<void> {
    if (!isAlive(attachment)) return;
    const socket = new NetlinkSocket(NETLINK_ROUTE, attachment.netns);
    try {
      const found = findLink(socket, attachment.ifname);
      const id = parseLinkLabel(found?.alias ?? "")?.id;
      if (id === linkId.pseudowire(attachment.session)) {
        const change = { op: "deleteSession", key: attachment.session } as const;
        const datapath = makerOf(found?.kind ?? "") ?? "Kernel";
        await this.datapaths.apply(datapath, [change]);
        await this.#leaveHalf(attachment.session);
      } else if (id !== linkId.pod(attachmentKey(attachment))) {
        return;
      }
      const link = findLink(socket, attachment.ifname);
      if (link !== undefined && link.index === found?.index) {
        await deleteLink(socket, attachment.netns, link.index);
      }
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

  async #apply(desired: Desired, observed: Observed, actions: Action[]): Promise<PassResult> {
    const bridges = [...desired.links, ...observed.links].filter(({ kind }) => kind === "bridge");
    const failures = await applyPlan(actions, {
      socket: this.socket,
      applyChanges: (datapath, changes) => this.datapaths.apply(datapath, changes),
      bridgeNames: new Map(bridges.reverse().map(({ id, name }) => [id, name])),
      sessionOfAttachment: (key) => this.#attachments.get(key)?.session,
    });
    return { actions, failures };
  }
}

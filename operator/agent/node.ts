/**
 * The agent's view of its node, and how it changes it: observe → plan → apply, over everything or over
 * one session. Callers see to it that one call runs at a time (mutex.ts).
 */

import { statSync } from "node:fs";
import type { Change, DumpEntry, Listing, Names } from "../../datapath/datapath.ts";
import { DATAPATHS, deviceKindOfLink, traitsOf } from "../../datapath/registry/datapaths.ts";
import { deleteLink, findLink, getLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { OWN_NETNS } from "../../linux/netns.ts";
import { type Attachment, attachmentKey, attachmentMode } from "../../model/attachments/index.ts";
import { type DatapathTraits, forwardedSession } from "../../model/datapath.ts";
import { linkId } from "../../model/link-label.ts";
import { type Action, type Desired, type Link, type Observed, plan } from "../../model/plan.ts";
import {
  desireLinks,
  desireSession,
  forwardings,
  ownDeviceName,
  type Spared,
  sparing,
} from "../resolve/desired.ts";
import type { Resolved, ResolvedSession } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import { type Holding, holdUnknown, keepBridge } from "../resolve/unreadable.ts";
import { applyPlan } from "./apply.ts";
import type { AttachmentStore } from "./attachments.ts";
import type { Datapaths } from "./datapaths.ts";
import { withDeviceErrors } from "./device-errors.ts";
import { withRedirects } from "./device-redirects.ts";
import { type DeviceTags, deviceTags, settleTags, withTagCounts } from "./device-tags.ts";
import { withInterfaces, withRefusedFrames } from "./dump-entries.ts";
import { assemble, observeLinks, type Scope, type SeenLinks } from "./observe.ts";
import { linkOf, PodDevices } from "./pod-devices.ts";
import { findLinkIn, isAlive } from "./pod-netns.ts";
import { type PortGuard, portGuards, settleGuards, withGuardDrops } from "./port-guards.ts";

interface PassResult {
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

/** What stands on the node before a pass. */
export interface Observation {
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
  /** The devices that the last pass wanted, if the kernel rewrites their frames. */
  #tags: readonly DeviceTags[] = [];
  #hasConverged = false;
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

  /** All that is programmed, with its counters. */
  async look(): Promise<Listing> {
    const listing = await this.datapaths.peek(this.#names());
    const counted = withTagCounts(listing, this.socket, this.#tags);
    return withGuardDrops(counted, this.socket, this.#guards);
  }

  /** As `look`, and what devices refused is an error and not received. Asks each pod that has one. */
  async measure(): Promise<Listing> {
    const livingOf = (key: string) => this.#attachments.livingOf(key);
    return withDeviceErrors(await this.look(), this.socket, livingOf);
  }

  /** All that the node's datapaths have, ours or not, with the interfaces that exist. */
  async dump(): Promise<DumpEntry[]> {
    const listing = await this.measure();
    const entries = withRefusedFrames(await this.datapaths.dump(this.#names()), listing);
    const exists = (name: string) => findLink(this.socket, name) !== undefined;
    return withInterfaces(entries, listing, this.presentLinks(), exists);
  }

  /** As the last pass knew them. */
  #names(): Names {
    return { sessions: this.#sessions, tunnelName: (id) => this.#tunnels.get(id) };
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
    const seen = this.#links({ living });
    this.#devices.adopt(living, seen.links);
    const sessions = new Map([...(unlabelled ?? []), ...seen.kernelSessions]);
    const lacksLabels = unlabelled !== null;
    const listing = await this.datapaths.list({ sessions, tunnelName, lacksLabels });
    const known = living.map((attachment) => this.#current(attachment));
    return { listing, observed: assemble(listing, seen, known), living: known };
  }

  #links(scope: Scope): SeenLinks {
    return observeLinks(this.socket, [...this.#attachments.all()], scope);
  }

  #current(attachment: Attachment): Attachment {
    return this.#attachments.get(attachmentKey(attachment)) ?? attachment;
  }

  /** The interface of an attachment as it is now. */
  podLink(attachment: Attachment): Link | undefined {
    const scope = { ids: idsOf(attachment.session, attachment), names: [], attachment };
    const { links } = this.#links(scope);
    return linkOf(attachment, new Map(links.map((link) => [link.id, link])));
  }

  /** The interfaces of living pods as they are now, by the IDs of the links. */
  presentLinks(): ReadonlyMap<string, Link> {
    const living = [...this.#attachments.all()].filter(isAlive);
    const { links } = this.#links({ living });
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
      tunnels: Array.from(resolved.tunnels.values(), ({ tunnel }) => tunnel),
      ...desireLinks(
        resolved.sessions.values(),
        attached,
        this.#name,
        forwardings(listing),
        this.#devices.known(living, seen.links),
      ),
    };
    this.#devices.forget(living);
    const { desired, observed, held } = this.#hold(whole, seen);
    this.#held = held;
    const spare = sparing(desired, observed, spared);
    this.#tunnels = new Map(spare.tunnels.map(({ tunnelId, name }) => [tunnelId, name]));
    this.#sessions = new Map(
      spare.sessions.flatMap((item) => {
        const forwarded = forwardedSession(item);
        return forwarded === null ? [] : [[forwarded.sessionId, item.session.key] as const];
      }),
    );
    this.#guards = portGuards(resolved.sessions.values(), (key) => attached.get(key) ?? []);
    const result = await this.#apply(
      spare,
      observed,
      plan(spare, observed, traitsOf),
      this.#guards,
    );
    this.#devices.record([...attached.values()].flat(), { desired: spare, observed, ...result });
    this.#devices.recordReturned({ desired: spare, observed, ...result });
    this.#tags = this.#tagsOf(
      resolved.sessions.values(),
      (key) => attached.get(key)?.map((each) => this.#current(each)) ?? [],
      spare,
      this.#hasConverged ? this.#tags : null,
    );
    this.#hasConverged = true;
    return this.#withTags(result, this.#tags);
  }

  /** The devices of the sessions whose frames the kernel rewrites. */
  #tagsOf(
    sessions: Iterable<ResolvedSession>,
    attachmentsOf: (session: string) => readonly Attachment[],
    desired: Desired,
    before: readonly DeviceTags[] | null = [],
  ): DeviceTags[] {
    const forwarded = new Map(desired.sessions.map((item) => [item.session.key, item]));
    const nameOf = (resolved: ResolvedSession) =>
      ownDeviceName(resolved, forwarded.get(resolved.session.key));
    const all = [...sessions];
    return withRedirects(deviceTags(all, attachmentsOf, nameOf), all, nameOf, before);
  }

  /** A pod is not told that its interface is there before its frames are rewritten. */
  #withTags(result: PassResult, tags: readonly DeviceTags[]): PassResult {
    const failures = settleTags(this.socket, tags);
    if (failures.size === 0) return result;
    return { ...result, failures: new Map([...failures, ...result.failures]) };
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
    const { listing, observed: seen } = await this.#observeSession(resolved, attachment, ids);
    const attachments = this.#attachments.livingOf(session.key);
    const forwarding = forwardings(listing)(resolved);
    const present = this.#devices.known(attachments, seen.links);
    const whole = desireSession(resolved, attachments, this.#name, forwarding, present);
    // Where nobody is attached, a session that could not be programmed need not be now.
    const hasLink = whole.sessions.some(({ link }) => link !== null);
    const isIdle = !hasLink && listing.sessions.length === 0;
    const tunnels = [tunnel];
    const wanted: Desired = {
      tunnels,
      sessions: isIdle ? [] : whole.sessions,
      links: whole.links.filter(({ id }) => ids.has(id)),
      pairs: whole.pairs.filter(({ port }) => ids.has(port)),
    };
    // The tunnel is a matter of the next whole pass.
    const observed = { ...seen, tunnels };
    const desired = this.held.has(session.key) ? keepBridge(wanted, observed) : wanted;
    return { desired, observed, actions: plan(desired, observed, traitsOf) };
  }

  /** What there is of a session and one of its attachments. */
  async #observeSession(
    resolved: ResolvedSession,
    attachment: Attachment,
    ids: ReadonlySet<string>,
  ): Promise<Seen> {
    const { session } = resolved;
    // The datapath answers while the kernel is asked.
    const listed = this.datapaths.find(resolved);
    listed.catch(() => {});
    const look = (device: string) =>
      this.#links({
        ids,
        names: [device, ...attachmentMode(resolved.mode).nodeLinks(session, attachment)],
        attachment: isAlive(attachment) ? attachment : null,
      });
    const expected = ownDeviceName(resolved, undefined);
    const seen = look(expected);
    const listing = await listed;
    // Its ends may have agreed on another id than the object's.
    const name = ownDeviceName(resolved, listing.sessions[0]);
    const living = isAlive(attachment) ? [attachment] : [];
    return { listing, observed: assemble(listing, name === expected ? seen : look(name), living) };
  }

  /** Why no pod can have the session now; null: it can. @throws ConnectionError */
  async whyNotAgreed(resolved: ResolvedSession): Promise<string | null> {
    const { session, tunnel } = resolved;
    const traits = traitsOf(tunnel.datapath);
    if (!traits.waitsForAgreement(resolved)) return null;
    if (traits.needsProcess) await this.datapaths.process.hello();
    const [state] = (await this.datapaths.find(resolved)).sessions;
    const control = state?.session.tunnel === session.tunnel ? state.control : undefined;
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
    if (attachment.leaving) return result.failures;
    this.#devices.record([this.#current(attachment)], { desired, observed, ...result });
    const tags = this.#tagsOf([resolved], () => own.map((each) => this.#current(each)), desired);
    return this.#withTags(result, tags).failures;
  }

  /**
   * Takes an interface away whose session nobody can resolve now: its manifest is broken. The
   * session's own device goes for good; it is made anew when the session is whole again.
   */
  async removeInterface(attachment: Attachment): Promise<void> {
    const { device } = this.#current(attachment);
    if (device?.kind === "pseudowire" && device.datapath !== null) {
      const { session: key } = attachment;
      // Nobody knows now in which it is; what is not there is deleted.
      const datapaths = DATAPATHS.filter(({ traits }) => traits.device.name === device.datapath);
      for (const { traits } of datapaths) await this.#removeSession(traits, key);
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
    if (netns === null || link === undefined || deviceKindOfLink(link.kind) === undefined) return;
    if (statSync(netns).ino === statSync(OWN_NETNS).ino) return;
    const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
    try {
      await deleteLink(socket, netns, link.index);
    } finally {
      socket.close();
    }
  }

  async #removeSession(traits: DatapathTraits, key: string): Promise<void> {
    const { name, makesDevices } = traits;
    // A device that the datapath makes goes with the session.
    const device: Change[] = makesDevices ? [] : [{ op: "deleteDevice", key }];
    await this.datapaths.apply(name, [...device, { op: "deleteSession", key }]);
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

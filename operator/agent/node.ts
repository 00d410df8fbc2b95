/**
 * Observes and changes the node: observe → plan → apply, for all objects or for one session. Callers must run one
 * call at a time (mutex.ts).
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
import { setLocalPrefixes } from "../../underlay/local-prefixes.ts";
import {
  desireLinks,
  desireSession,
  forwardings,
  ownDeviceName,
  type Retained,
  retaining,
} from "../resolve/desired.ts";
import type { Resolved, ResolvedSession } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import { type Holding, holdUnknown, keepBridge } from "../resolve/unreadable.ts";
import { applyPlan } from "./apply.ts";
import type { AttachmentStore } from "./attachments.ts";
import type { Datapaths } from "./datapaths.ts";
import { withDeviceErrors } from "./device-errors.ts";
import { withRedirects } from "./device-redirects.ts";
import { applyTags, type DeviceTags, deviceTags, withTagCounts } from "./device-tags.ts";
import { withInterfaces, withRefusedFrames } from "./dump-entries.ts";
import { NodeInterfaces } from "./interfaces.ts";
import { assemble, observeLinks, type Scope, type SeenLinks } from "./observe.ts";
import { linkOf, PodDevices } from "./pod-devices.ts";
import { findLinkIn, isAlive } from "./pod-netns.ts";
import { applyGuards, type PortGuard, portGuards, withGuardDrops } from "./port-guards.ts";

interface PassResult {
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

/** The state of the node before a pass. */
export interface Observation {
  readonly listing: Listing;
  readonly observed: Observed;
  readonly living: readonly Attachment[];
}

/** The observed part of the node that serves one session. */
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
  readonly interfaces: NodeInterfaces;
  /** Names of tunnels by tunnel ID, as the last pass desired them. */
  #tunnels: ReadonlyMap<number, string> = new Map();
  /** Keys of sessions by session ID, as the last pass desired them. */
  #sessions: ReadonlyMap<number, string> = new Map();
  /** Filters of the bridge ports that the last pass desired. */
  #guards: readonly PortGuard[] = [];
  /** Devices with tag rules that the last pass desired. */
  #tags: readonly DeviceTags[] = [];
  #hasConverged = false;
  #held: ReadonlySet<string> = new Set();
  /** True at first, because an earlier agent may have left prefixes. */
  #mayHavePrefixes = true;

  constructor(
    name: string,
    datapaths: Datapaths,
    attachments: AttachmentStore,
    stateFolder: string,
  ) {
    this.#name = name;
    this.datapaths = datapaths;
    this.#attachments = attachments;
    this.#devices = new PodDevices(attachments);
    this.interfaces = new NodeInterfaces(stateFolder, this.socket);
  }

  close(): void {
    this.socket.close();
    this.datapaths.close();
  }

  /** The names of tunnels by tunnel ID, as the last pass desired them. */
  get tunnelNames(): ReadonlyMap<number, string> {
    return this.#tunnels;
  }

  /** Keys of the sessions that the last pass kept unchanged because of an unreadable attachment file. */
  get held(): ReadonlySet<string> {
    return this.#attachments.unreadable.length === 0 ? new Set() : this.#held;
  }

  /** Returns all programmed objects with their counters. */
  async look(): Promise<Listing> {
    const listing = await this.datapaths.peek(this.#names());
    const counted = withTagCounts(listing, this.socket, this.#tags);
    return withGuardDrops(counted, this.socket, this.#guards);
  }

  /** Like `look`, but counts frames that devices refused as errors. Reads statistics in pods, so it takes longer. */
  async measure(): Promise<Listing> {
    const livingOf = (key: string) => this.#attachments.livingOf(key);
    return withDeviceErrors(await this.look(), this.socket, livingOf);
  }

  /** Returns all tunnels and sessions of the node's datapaths, including foreign ones. */
  async dump(): Promise<DumpEntry[]> {
    const listing = await this.measure();
    const entries = withRefusedFrames(await this.datapaths.dump(this.#names()), listing);
    const exists = (name: string) => findLink(this.socket, name) !== undefined;
    return withInterfaces(entries, listing, this.presentLinks(), exists);
  }

  /** Names as of the last pass. */
  #names(): Names {
    return { sessions: this.#sessions, tunnelName: (id) => this.#tunnels.get(id) };
  }

  /**
   * @param unlabelled keys of sessions by session ID, if devices may be in unknown pods, where their labels are not
   * visible; else null
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
    const { isNamed } = this.interfaces;
    return observeLinks(this.socket, [...this.#attachments.all()], scope, isNamed);
  }

  #current(attachment: Attachment): Attachment {
    return this.#attachments.get(attachmentKey(attachment)) ?? attachment;
  }

  /** Returns the present interface of an attachment. */
  podLink(attachment: Attachment): Link | undefined {
    const scope = { ids: idsOf(attachment.session, attachment), names: [], attachment };
    const { links } = this.#links(scope);
    return linkOf(attachment, new Map(links.map((link) => [link.id, link])));
  }

  /** Returns the present links of the node and of living pods, by link ID. */
  presentLinks(): ReadonlyMap<string, Link> {
    const living = [...this.#attachments.all()].filter(isAlive);
    const { links } = this.#links({ living });
    return new Map(links.map((link) => [link.id, link]));
  }

  /**
   * Adds the local routes of the prefixes, and deletes those of all other prefixes.
   * @returns the reasons why prefixes cannot be routed to the node, by prefix
   */
  routePrefixes(prefixes: ReadonlySet<string>): ReadonlyMap<string, string> {
    if (prefixes.size === 0 && !this.#mayHavePrefixes) return new Map();
    const problems = setLocalPrefixes(this.socket, prefixes);
    this.#mayHavePrefixes = prefixes.size > 0;
    return problems;
  }

  /** Brings the whole node to the state that `resolved` and the attachments desire. */
  async converge(
    resolved: Pick<Resolved, "tunnels" | "sessions">,
    spared: Retained,
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
    const spare = retaining(desired, observed, spared);
    this.#tunnels = new Map(spare.tunnels.map(({ tunnelId, name }) => [tunnelId, name]));
    this.#sessions = new Map(
      spare.sessions.flatMap((item) => {
        const forwarded = forwardedSession(item);
        return forwarded === null ? [] : [[forwarded.sessionId, item.session.key] as const];
      }),
    );
    this.#guards = portGuards(resolved.sessions.values(), (key) => attached.get(key) ?? []);
    this.interfaces.prepare(resolved.sessions, spared.sessions);
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
    const done = this.#withTags(result, this.#tags);
    const programmed = new Map(spare.sessions.map((item) => [item.session.key, item]));
    const nameOf = (one: ResolvedSession) => ownDeviceName(one, programmed.get(one.session.key));
    const failures = this.interfaces.settle(resolved.sessions, nameOf, [...programmed.keys()]);
    return failures.size === 0
      ? done
      : { ...done, failures: new Map([...failures, ...done.failures]) };
  }

  /** Returns the devices with tag rules. */
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

  /** Sets the tag filters. A failure fails the session, so that ADD does not succeed without the filters. */
  #withTags(result: PassResult, tags: readonly DeviceTags[]): PassResult {
    const failures = applyTags(this.socket, tags);
    if (failures.size === 0) return result;
    return { ...result, failures: new Map([...failures, ...result.failures]) };
  }

  #hold(desired: Desired, observed: Observed): Holding {
    const { unreadable } = this.#attachments;
    if (unreadable.length === 0) return { desired, observed, held: new Set() };
    return holdUnknown(desired, observed, [...this.#attachments.all()]);
  }

  /** Plans the changes for an attachment and its session; no actions: both have the desired state. */
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
    // A session that is not programmed and has no pod is left to the next whole pass.
    const hasLink = whole.sessions.some(({ link }) => link !== null);
    const isIdle = !hasLink && listing.sessions.length === 0;
    const tunnels = [tunnel];
    const wanted: Desired = {
      tunnels,
      sessions: isIdle ? [] : whole.sessions,
      links: whole.links.filter(({ id }) => ids.has(id)),
      pairs: whole.pairs.filter(({ port }) => ids.has(port)),
    };
    // Changes of the tunnel are left to the next whole pass.
    const observed = { ...seen, tunnels };
    const desired = this.held.has(session.key) ? keepBridge(wanted, observed) : wanted;
    return { desired, observed, actions: plan(desired, observed, traitsOf) };
  }

  /** Observes a session and one of its attachments. */
  async #observeSession(
    resolved: ResolvedSession,
    attachment: Attachment,
    ids: ReadonlySet<string>,
  ): Promise<Seen> {
    const { session } = resolved;
    // The datapath process answers while the links are read.
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
    // The negotiated session ID can differ from the object's, and with it the device's name.
    const name = ownDeviceName(resolved, listing.sessions[0]);
    const living = isAlive(attachment) ? [attachment] : [];
    return { listing, observed: assemble(listing, name === expected ? seen : look(name), living) };
  }

  /** Returns the reason why no pod can attach to the session now; null: a pod can. @throws ConnectionError */
  async whyNotAgreed(resolved: ResolvedSession): Promise<string | null> {
    const { session, tunnel } = resolved;
    const traits = traitsOf(tunnel.datapath);
    if (!traits.waitsForAgreement(resolved)) return null;
    if (traits.needsProcess) await this.datapaths.process.hello();
    const [state] = (await this.datapaths.find(resolved)).sessions;
    const control = state?.session.tunnel === session.tunnel ? state.control : undefined;
    if (control?.established) return null;
    return control?.lastEnding?.why ?? "it is being negotiated with the peer";
  }

  /** Brings one attachment and its session to their desired state. */
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
   * Deletes an interface whose session cannot be resolved, such as for an invalid manifest. If the interface is the
   * session's own device, the session is deleted, too. A pass recreates it when the manifest is valid.
   */
  async removeInterface(attachment: Attachment): Promise<void> {
    const { device } = this.#current(attachment);
    if (device?.kind === "pseudowire" && device.datapath !== null) {
      const { session: key } = attachment;
      // The session's datapath is unknown. Deleting a missing session succeeds.
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
   * Deletes an interface that an ADD created, and of which only the name is known. Its session must be released before.
   * @param netns path of the pod's network namespace, from the runtime
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
    // A datapath that creates devices deletes the device with the session.
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
    // A failed filter fails the session, so that ADD does not succeed without the filter.
    return { actions, failures: new Map([...applyGuards(this.socket, guards), ...failures]) };
  }
}

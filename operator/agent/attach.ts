/** Carries out CNI commands. Callers must run one call at a time. */

import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { type Attachment, attachmentKey, attachmentMode } from "../../model/attachments/index.ts";
import type { Link } from "../../model/plan.ts";
import { hasMac } from "../../model/pseudowires/index.ts";
import { canonicalInterfaceAddress, canonicalNetwork } from "../../net/ip.ts";
import { AgentError } from "../agent-error.ts";
import {
  type Attached,
  type AttachedInterface,
  type AttachRequest,
  type CniCall,
  type ConfigureRequest,
  type DetachCall,
  resultAddress,
  type SessionRequest,
} from "../agent-protocol.ts";
import type { Resolved, ResolvedSession } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import { announce } from "./announce.ts";
import type { AttachmentStore } from "./attachments.ts";
import { givenMtu } from "./given-mtus.ts";
import { requirePods } from "./interfaces.ts";
import { requireIpv6Mtu } from "./ipv6-mtu.ts";
import { requireNoMac } from "./no-mac.ts";
import type { Node } from "./node.ts";
import { linkOf } from "./pod-devices.ts";
import { isAlive, netnsIdentity, requirePodNetns } from "./pod-netns.ts";
import { beside } from "./pod-routes.ts";

export interface AttachContext {
  readonly nodeName: string;
  readonly node: Node;
  readonly store: AttachmentStore;
  /** The resolved objects; null before the first pass. */
  resolved(): Resolved | null;
  /** Runs a whole pass, for when changing one session fails. */
  reconcile(): Promise<Failures>;
  /** Returns the present path MTU of the tunnel, in bytes; null: unknown. */
  pathMtu(tunnel: string): number | null;
  /** Marks a step for tests that end the process there. */
  failpoint(step: AttachStep): void;
}

export type AttachStep = "recorded" | "placed" | "announced" | "leaving" | "left";

function notEstablished({ session: { key } }: ResolvedSession, why: string): AgentError {
  const remedy = "the runtime retries; see l2tpctl tunnels on the node";
  return new AgentError("SessionNotReady", `L2tpSession ${key} is not established: ${why}`, remedy);
}

function noPods({ session: { key }, mode }: ResolvedSession, why: string): AgentError {
  const remedy = "use another session, or set spec.attachment.mode: Direct or Bridge";
  return new AgentError("SessionBusy", `L2tpSession ${key} is in mode ${mode}: ${why}`, remedy);
}

const callKey = ({ containerId, cniIfname }: CniCall): string => `${containerId}/${cniIfname}`;

export class Attacher {
  readonly #context: AttachContext;

  constructor(context: AttachContext) {
    this.#context = context;
  }

  /**
   * Carries out an ADD, up to IPAM if the request awaits it. A repeated ADD changes nothing.
   * @throws AgentError
   */
  async attach(request: AttachRequest): Promise<Attached> {
    const known = this.#requireSession(request);
    requireNoMac(known, request);
    requirePods(known);
    const { store, failpoint } = this.#context;
    const before = store.get(attachmentKey(request));
    const isAgain = before !== undefined && this.#isSame(before, request);
    if (isAgain && before.isComplete !== false) return this.#describe(known, before);
    const netnsIdentity = this.#requireFree(known, request, before);
    await this.#requireAgreed(known);
    this.#forgetDead(known.session.key);
    const resolved = await this.#onPresentPath(known, request);
    requireIpv6Mtu(resolved, request.addresses);
    const attachment = isAgain ? before : this.#record(resolved, request, netnsIdentity);
    this.#remember(attachment);
    failpoint("recorded");
    await this.#place(resolved, attachment);
    failpoint("placed");
    if (request.awaitsIpam) return this.#describe(resolved, attachment);
    return this.#complete(resolved, attachment);
  }

  /** Adds the addresses and routes of IPAM to an interface, which completes its ADD. @throws AgentError */
  async configure(request: ConfigureRequest): Promise<Attached> {
    const { store } = this.#context;
    const before = store.get(attachmentKey(request));
    if (before === undefined || before.leaving) {
      const message = `interface ${request.ifname} was detached while IPAM ran`;
      throw new AgentError("ClientGone", message, "the runtime retries");
    }
    const resolved = this.#requireSession({ ...before, pod: null });
    if (before.isComplete !== false) return this.#describe(resolved, before);
    const { addresses, ipam } = request;
    await this.#requireIpv6Mtu(resolved, before, addresses);
    const routes = beside(before, request.routes);
    const attachment = { ...before, addresses, routes, ipam };
    this.#remember(attachment);
    await this.#place(resolved, attachment);
    return this.#complete(resolved, attachment);
  }

  /** Resolves the session again if the path MTU changed since the last pass. Attached pods keep their MTU. */
  async #onPresentPath(
    resolved: ResolvedSession,
    request: SessionRequest,
  ): Promise<ResolvedSession> {
    const { store, reconcile, pathMtu } = this.#context;
    if (store.livingOf(resolved.session.key).length > 0) return resolved;
    const now = pathMtu(resolved.tunnel.name);
    if (now === null || now === resolved.pathMtu) return resolved;
    await reconcile();
    return this.#requireSession(request);
  }

  /** Checks the MTU for IPAM's addresses, which ADD did not know. @throws AgentError after deleting the interface */
  async #requireIpv6Mtu(
    resolved: ResolvedSession,
    attachment: Attachment,
    addresses: readonly string[],
  ): Promise<void> {
    try {
      requireIpv6Mtu(resolved, addresses);
    } catch (error) {
      await this.#detachOne(attachment);
      throw error;
    }
  }

  /** Creates the pod's interface as recorded in the attachment. @throws AgentError after deleting the interface */
  async #place(resolved: ResolvedSession, attachment: Attachment): Promise<void> {
    const failures = await this.#converge(resolved, attachment).catch(async (error) => {
      // The record of a failed ADD must not look like that of a successful ADD.
      await this.#detachOne(attachment).catch(() => {});
      throw error;
    });
    const failure =
      failures.get(`tunnel ${resolved.session.tunnel}`) ??
      failures.get(`session ${attachment.session}`);
    if (failure !== undefined) {
      await this.#detachOne(attachment);
      const remedy = "the runtime retries; see l2tpctl doctor on the node";
      throw new AgentError("ApplyFailed", `${attachment.session}: ${failure.message}`, remedy);
    }
    if (this.#lacksInterface(resolved, attachment)) {
      await this.#detachOne(attachment);
      throw notEstablished(resolved, "it must be renegotiated with the peer");
    }
  }

  /** Hands the interface over to the pod. @throws AgentError after deleting the interface */
  async #complete(resolved: ResolvedSession, placed: Attachment): Promise<Attached> {
    const { failpoint } = this.#context;
    const { ifname } = placed;
    const attachment = { ...this.#current(placed), isComplete: true };
    try {
      this.#remember(attachment);
    } catch (error) {
      await this.#detachOne(attachment);
      throw error;
    }
    const { netns, mac, addresses } = attachment;
    const announces = resolved.object.spec.attachment?.announce !== false;
    if (announces && hasMac(resolved.session)) announce(netns, ifname, mac, addresses);
    failpoint("announced");
    return this.#describe(resolved, attachment);
  }

  /** Saves the attachment: after a restart, a pass deletes interfaces without a record. @throws AgentError */
  #remember(attachment: Attachment): void {
    try {
      this.#context.store.put(attachment);
    } catch (error) {
      const message = `cannot save the attachment: ${(error as Error).message}`;
      const remedy = "free space in the agent's --state-dir";
      throw new AgentError("StateNotWritable", message, remedy);
    }
  }

  /** Returns the deleted attachments, of which the call may have none. @throws AgentError if a deletion fails */
  async detach(call: DetachCall): Promise<readonly Attachment[]> {
    const attachments = this.#madeBy(call);
    for (const attachment of attachments) await this.#detachOne(attachment);
    await this.#detachUnreadable(call);
    return attachments;
  }

  /** Deletes interfaces whose attachment file is unreadable. A whole pass releases their sessions first. */
  async #detachUnreadable(call: DetachCall): Promise<void> {
    const { store, node, reconcile } = this.#context;
    const names = store.dropUnreadable(call);
    if (names.length === 0) return;
    await reconcile();
    for (const name of names) await node.removeLeftInterface(call.netns, name);
  }

  /** Returns the saved attachment, which includes the device created meanwhile. */
  #current(attachment: Attachment): Attachment {
    return this.#context.store.get(attachmentKey(attachment)) ?? attachment;
  }

  #madeBy({ containerId, cniIfname }: CniCall): Attachment[] {
    return [...this.#context.store.all()].filter(
      (item) => item.containerId === containerId && item.cniIfname === cniIfname,
    );
  }

  async #detachOne(attachment: Attachment): Promise<void> {
    const { store, failpoint } = this.#context;
    const leaving: Attachment = { ...this.#current(attachment), leaving: true };
    // A full disk must not block the deletion of a pod.
    if (!attachment.leaving) store.putIfPossible(leaving);
    failpoint("leaving");
    const resolved = this.#context.resolved()?.sessions.get(attachment.session);
    if (resolved === undefined) {
      await this.#context.node.removeInterface(leaving);
    } else {
      const failures = await this.#converge(resolved, leaving);
      const failure = failures.get(`session ${attachment.session}`);
      // Other faults of the session must not block the deletion of a pod.
      if (failure !== undefined && (await this.#isStillThere(resolved, leaving))) {
        const remedy = "the runtime retries; see l2tpctl doctor on the node";
        throw new AgentError("ApplyFailed", `${attachment.session}: ${failure.message}`, remedy);
      }
    }
    store.delete(attachmentKey(attachment));
    failpoint("left");
  }

  async #isStillThere(resolved: ResolvedSession, leaving: Attachment): Promise<boolean> {
    if (!isAlive(leaving)) return false;
    const { actions } = await this.#context.node.planFor(resolved, leaving);
    return actions.some((action) => action.do === "deleteLink");
  }

  /**
   * Carries out a CHECK: recreates a missing interface, and keeps the pod's changes to an existing one.
   * @param listed addresses and routes in the runtime's result
   * @returns the names of the interfaces
   * @throws AgentError that names the difference
   */
  async check(call: CniCall, listed: Listed): Promise<readonly string[]> {
    const attachments = this.#madeBy(call);
    for (const attachment of attachments) await this.#checkOne(attachment, listed);
    return attachments.map(({ ifname }) => ifname);
  }

  async #checkOne(attachment: Attachment, listed: Listed): Promise<void> {
    const resolved = this.#requireSession({ ...attachment, pod: null });
    const failures = await this.#converge(resolved, attachment);
    const { observed, actions } = await this.#context.node.planFor(resolved, attachment);
    const failure = failures.get(`session ${attachment.session}`);
    const what = failure?.message ?? actions.map((action) => action.do).join(", ");
    if (actions.length > 0) throw drift(attachment, `differs from the desired state: ${what}`);
    if (this.#lacksInterface(resolved, attachment)) {
      throw drift(attachment, "is missing until the session is established");
    }
    const link = linkOf(attachment, new Map(observed.links.map((each) => [each.id, each])));
    const missing = link === undefined ? [] : missingFrom(link, attachment, listed);
    if (missing.length > 0) throw drift(attachment, `lacks ${missing.join(", ")}`);
  }

  async gc(network: string, valid: readonly CniCall[], before: string): Promise<void> {
    const keep = new Set(valid.map(callKey));
    const errors: unknown[] = [];
    for (const attachment of [...this.#context.store.all()]) {
      const isStale =
        attachment.network === network &&
        attachment.createdAt <= before &&
        !keep.has(callKey(attachment));
      if (isStale) await this.#detachOne(attachment).catch((error) => errors.push(error));
    }
    // A failed deletion must not prevent the others (CNI specification, GC).
    if (errors.length > 0) throw errors[0];
  }

  /** Changes one session. If that fails, runs a whole pass, which also finds links that were moved by hand. */
  async #converge(resolved: ResolvedSession, attachment: Attachment): Promise<Failures> {
    const failures = await this.#context.node.convergeFor(resolved, attachment);
    return failures.size === 0 ? failures : this.#context.reconcile();
  }

  #requireSession(request: Omit<SessionRequest, "netns"> & { netns: string }): ResolvedSession {
    const resolved = this.#context.resolved();
    if (resolved === null) {
      throw new AgentError("NotReady", "agent not ready: objects not loaded", "try again");
    }
    const { session: key, pod } = request;
    const namespace = key.split("/")[0];
    const podNamespace = pod?.split("/")[0];
    if (podNamespace !== undefined && podNamespace !== namespace) {
      const message = `L2tpSession ${key} and pod ${pod} are in different namespaces`;
      const remedy = `use a session in namespace ${podNamespace}`;
      throw new AgentError("NamespaceMismatch", message, remedy);
    }
    const session = resolved.sessions.get(key);
    if (session !== undefined) return session;
    const refusal = resolved.refusedSessions.get(key);
    if (refusal !== undefined) {
      const remedy =
        "correct the object; see its conditions (kubectl describe, or l2tpctl sessions)";
      throw new AgentError("SessionNotReady", `L2tpSession ${key}: ${refusal.message}`, remedy);
    }
    const message = `no L2tpSession ${key} on node ${this.#context.nodeName}`;
    const remedy = "create it, correct the name, or run the pod on the node of its tunnel";
    throw new AgentError("UnknownSession", message, remedy);
  }

  /** Requires that the session can have an interface now. @throws AgentError if it must be negotiated first */
  async #requireAgreed(resolved: ResolvedSession): Promise<void> {
    const why = await this.#context.node.whyNotAgreed(resolved);
    if (why !== null) throw notEstablished(resolved, why);
  }

  /** True if the session must be negotiated before the pod can have an interface. */
  #lacksInterface(resolved: ResolvedSession, attachment: Attachment): boolean {
    if (!traitsOf(resolved.tunnel.datapath).waitsForAgreement(resolved)) return false;
    return !this.#current(attachment).device;
  }

  #isSame(known: Attachment, request: SessionRequest): boolean {
    return (
      !known.leaving &&
      known.session === request.session &&
      known.netnsIdentity === netnsIdentity(request.netns)
    );
  }

  /** Returns the identity of the pod's namespace. @throws AgentError if the session or the interface name is in use */
  #requireFree(
    resolved: ResolvedSession,
    request: SessionRequest,
    own: Attachment | undefined,
  ): string {
    const identity = requirePodNetns(request.netns);
    if (own !== undefined && !own.leaving && isAlive(own) && own.session !== request.session) {
      const message = `interface ${own.ifname} of the container is attached to ${own.session}`;
      throw new AgentError("InterfaceExists", message, "detach it first with CNI DEL");
    }
    this.#requireName(request, own);
    const { secondPodRemedy, whyNoPods } = attachmentMode(resolved.mode);
    if (whyNoPods !== undefined) throw noPods(resolved, whyNoPods);
    if (secondPodRemedy === null) return identity;
    const holder = this.#context.store
      .livingOf(resolved.session.key)
      .find((other) => attachmentKey(other) !== attachmentKey(request));
    if (holder === undefined) {
      this.#requireNotHeld(resolved, request);
      return identity;
    }
    const message = `L2tpSession ${resolved.session.key} is attached to ${holder.pod} (${holder.ifname})`;
    const remedy = `delete that pod, or ${secondPodRemedy}`;
    throw new AgentError("SessionBusy", message, remedy);
  }

  /** @throws AgentError if another pod may use the session, according to an unreadable attachment file */
  #requireNotHeld({ session: { key } }: ResolvedSession, request: SessionRequest): void {
    const { node, store } = this.#context;
    if (!node.held.has(key) || store.ownsUnreadable(request)) return;
    const paths = store.unreadable.map(({ path }) => path).join(", ");
    const message = `L2tpSession ${key} may be attached to another pod: cannot read attachment file ${paths}`;
    const remedy = "delete that pod; if the pod does not exist, delete the file";
    throw new AgentError("SessionBusy", message, remedy);
  }

  /** @throws AgentError if another interface of the pod has the name */
  #requireName(request: SessionRequest, own: Attachment | undefined): void {
    const socket = new NetlinkSocket(NETLINK_ROUTE, request.netns);
    try {
      if (findLink(socket, request.ifname) === undefined) return;
      // An earlier ADD of this call created the interface: it saved the record first.
      if (own !== undefined || this.#context.store.ownsUnreadable(request)) return;
    } finally {
      socket.close();
    }
    const message = `the container already has an interface ${request.ifname}`;
    throw new AgentError("InterfaceExists", message, "choose another interface name");
  }

  /** Releases the session from pods that were removed without a DEL. */
  #forgetDead(session: string): void {
    const { store } = this.#context;
    for (const attachment of store.ofSession(session)) {
      if (!isAlive(attachment)) store.delete(attachmentKey(attachment));
    }
  }

  #record(resolved: ResolvedSession, request: AttachRequest, netnsIdentity: string): Attachment {
    const { nodeName } = this.#context;
    const { containerId, cniIfname, ifname, netns, session } = request;
    const { network, addresses, routes, ipam } = request;
    const ownMac = attachmentMode(resolved.mode).podMac(nodeName, request);
    return {
      containerId,
      cniIfname,
      ifname,
      netns,
      netnsIdentity,
      session,
      pod: request.pod ?? containerId,
      network,
      mac: request.mac?.toLowerCase() ?? ownMac,
      addresses,
      routes,
      createdAt: new Date().toISOString(),
      leaving: false,
      ipam,
      isComplete: false,
      device: null,
      mtu: givenMtu(resolved, this.#context.pathMtu(resolved.tunnel.name) !== null),
    };
  }

  #describe({ session, mode }: ResolvedSession, attachment: Attachment): Attached {
    const { ifname, mac, netns, addresses, routes, ipam, isComplete = true } = attachment;
    const { socket } = this.#context.node;
    const onNode = attachmentMode(mode).nodeLinks(session, attachment);
    const interfaces: AttachedInterface[] = [
      ...onNode.map((name) => ({ name, mac: findLink(socket, name)?.mac ?? "" })),
      { name: ifname, ...(hasMac(session) ? { mac } : {}), sandbox: netns },
    ];
    return { interfaces, mtu: session.mtu, addresses, routes, ipam, isComplete };
  }
}

/** The runtime's result of ADD, which later plugins may have changed. */
interface Listed {
  readonly addresses: readonly string[];
  readonly destinations: readonly string[];
}

function drift({ session, ifname }: Attachment, what: string): AgentError {
  const remedy = "see l2tpctl doctor on the node";
  return new AgentError("Drift", `interface ${ifname} of ${session} ${what}`, remedy);
}

/**
 * Returns the addresses and routes that ADD added and the runtime still lists, and that the interface lacks now.
 * Returns none if the pod renamed the interface or attached it to a bridge.
 */
function missingFrom(link: Link, attachment: Attachment, listed: Listed): string[] {
  if (link.isElsewhere || link.name !== attachment.ifname || link.bridge !== null) return [];
  const given = new Set(listed.addresses.map(canonicalInterfaceAddress));
  const destinations = new Set(listed.destinations.map(canonicalNetwork));
  const addresses = attachment.addresses.filter(
    (address) => given.has(resultAddress(address)) && !link.addresses.includes(address),
  );
  const routes = attachment.routes
    .map(({ destination }) => canonicalNetwork(destination))
    .filter((destination) => destinations.has(destination))
    // A later plugin may have moved the route to another table.
    .filter((wanted) => !link.routes.some(({ destination }) => destination === wanted));
  return [
    ...addresses.map((address) => `address ${address}`),
    ...routes.map((destination) => `the route to ${destination}`),
  ];
}

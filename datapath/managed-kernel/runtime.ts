/** Managed kernel tunnels, as the agent uses them: composed of the datapath process and the kernel's L2TP. */
import { forwardedSession } from "../../model/datapath.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { type Reply, toWireError } from "../../rpc/errors.ts";
import {
  type Change,
  type Datapath,
  type DumpEntry,
  EMPTY_LISTING,
  type Listing,
  type Names,
} from "../datapath.ts";
import type { Claims } from "../kernel/adopt.ts";
import { foreignTunnel, NoSocketError, NotOursError } from "../kernel/kernel.ts";
import { NoL2tpError } from "../kernel/l2tp-netlink.ts";
import { type Claimed, claimedPart, type KernelL2tp } from "../kernel/shared.ts";
import type { ProcessView } from "../userspace/process-view.ts";
import { controlTunnel, joinListings, wholeTunnel } from "./halves.ts";
import { MANAGED_KERNEL } from "./traits.ts";

type PutTunnel = Extract<Change, { op: "putTunnel" }>;
type PutSession = Extract<Change, { op: "putSession" }>;
type Deletion = Exclude<Change, PutTunnel | PutSession>;
type Replies = readonly Reply<null>[];

const DONE: Reply<null> = { result: null };

/** The kernel deletes the tunnel of a closed socket long before. */
const RELEASE_MS = 60_000;

export class ManagedKernelDatapath implements Datapath {
  readonly traits = MANAGED_KERNEL;
  readonly #process: ProcessView;
  readonly #kernel: KernelL2tp;
  /** Listings by their `names` (see KernelL2tp). */
  readonly #controls = new WeakMap<Names, Promise<Listing>>();
  /** Closed tunnels that the kernel may still have: the time of closing (performance.now()), by tunnel name. */
  readonly #closed = new Map<string, number>();

  /** @param process the view of these tunnels' control connections */
  constructor(process: ProcessView, kernel: KernelL2tp) {
    this.#process = process;
    this.#kernel = kernel;
    kernel.claim((names) => this.#claims(names));
  }

  list(names: Names): Promise<Listing> {
    return this.#join(names, this.#kernel.list(names));
  }

  peek(names: Names): Promise<Listing> {
    return this.#join(names, this.#kernel.peek(names));
  }

  async find({ key, ...session }: Session, { name, tunnelId }: Tunnel): Promise<Listing> {
    const control = await this.#control(({ tunnel }) => tunnel.name === name);
    const found = {
      ...control,
      sessions: control.sessions.filter((state) => state.session.key === key),
    };
    const kernel = this.#kernel.open();
    const established = found.sessions[0]?.control?.established;
    // The ID that was programmed last: the session may have been renegotiated since.
    const sessionId = kernel?.sessionIdOf(key) ?? established?.sessionId ?? session.sessionId;
    const forwarded = kernel?.find({ ...session, key, sessionId }, tunnelId) ?? EMPTY_LISTING;
    return joinListings(found, forwarded);
  }

  async apply(changes: readonly Change[]): Promise<Replies> {
    const replies: Reply<null>[] = [];
    for (let at = 0; at < changes.length; at = replies.length) {
      replies.push(...(await this.#applyRun(changes.slice(at))));
    }
    return replies;
  }

  /** The kernel datapath's dump contains these tunnels. */
  dump(): readonly DumpEntry[] {
    return [];
  }

  /** Other datapaths own, and close, both parts. */
  close(): void {}

  /** Applies the changes of one kind that come first. */
  #applyRun(changes: readonly Change[]): Promise<Replies> {
    const isOther = ({ op }: Change) => kindOf(op) !== kindOf(changes[0]?.op);
    const end = changes.findIndex(isOther);
    const run = end === -1 ? changes : changes.slice(0, end);
    switch (kindOf(run[0]?.op)) {
      case "tunnels":
        return this.#putTunnels(run as readonly PutTunnel[]);
      case "sessions":
        return this.#putSessions(run as readonly PutSession[]);
      default:
        return this.#delete(run as readonly Deletion[]);
    }
  }

  /** Deletes from the kernel first: closing the socket would also delete foreign sessions in the tunnel. */
  async #delete(run: readonly Deletion[]): Promise<Replies> {
    const kernel = this.#kernel.open();
    const inKernel = run.map(
      (change): Deletion =>
        change.op === "deleteDevice" ? { op: "deleteSession", key: change.key } : change,
    );
    const replies = (await kernel?.apply(inKernel)) ?? run.map(() => DONE);
    const after = await applyNext(
      run.map((change) => (change.op === "deleteDevice" ? null : change)),
      replies,
      (changes) => this.#process.delete(changes),
    );
    for (const [index, change] of run.entries()) {
      if (change.op !== "deleteTunnel" || "error" in (after[index] ?? DONE)) continue;
      this.#noteClosed(change.name);
      kernel?.expectRelease();
    }
    return after;
  }

  #noteClosed(name: string): void {
    const now = performance.now();
    // The oldest come first.
    for (const [other, at] of this.#closed) {
      if (now - at < RELEASE_MS) break;
      this.#closed.delete(other);
    }
    this.#closed.delete(name);
    this.#closed.set(name, now);
  }

  async #putTunnels(run: readonly PutTunnel[]): Promise<Replies> {
    const again = run.filter(({ tunnel }) => this.#closed.delete(tunnel.name));
    // The kernel deletes a closed socket's tunnel in the background. A tunnel that it still has is reported below.
    await this.#kernel
      .open()
      ?.release(again.map(({ tunnel }) => tunnel.tunnelId))
      .catch(() => {});
    const puts = run.map(({ tunnel }): Change => {
      return { op: "putTunnel", tunnel: controlTunnel(tunnel) };
    });
    const given = await this.#process.apply(puts);
    const replies = given.map((reply, index) => withOwner(reply, run[index]?.tunnel.tunnelId));
    // The process may just have loaded the kernel's L2TP.
    const kernel = this.#kernel.open();
    const checked = await applyNext(run, replies, async (changes) =>
      kernel === null ? changes.map(notGiven) : kernel.apply(changes),
    );
    return checked.map((reply, index) => withRemedy(reply, run[index]?.tunnel));
  }

  async #putSessions(run: readonly PutSession[]): Promise<Replies> {
    const signalled = await this.#process.apply(
      run.map(({ session }): Change => {
        const isSignalled = session.control !== undefined;
        if (!isSignalled) return { op: "deleteSession", key: session.key };
        return { op: "putSession", session, device: null };
      }),
    );
    const kernel = this.#kernel.open();
    const forwarded = run.map((change): Change | null => {
      const session = forwardedSession(change);
      return session === null ? null : { op: "putSession", session, device: change.device };
    });
    return applyNext(forwarded, signalled, async (changes) =>
      kernel === null ? changes.map(noKernel) : kernel.apply(changes),
    );
  }

  async #join(names: Names, listed: Promise<Claimed>): Promise<Listing> {
    const [control, kernel] = await Promise.all([this.#controlOnce(names), listed]);
    return joinListings(control, claimedPart(kernel, true));
  }

  async #claims(names: Names): Promise<Claims> {
    const { tunnels, sessions } = await this.#controlOnce(names);
    const held = tunnels.filter(({ isLost }) => isLost !== true);
    const agreed = sessions.flatMap(({ session, control }): [number, string][] =>
      control?.established ? [[control.established.sessionId, session.key]] : [],
    );
    return {
      tunnels: new Map(held.map(({ tunnel }) => [tunnel.tunnelId, tunnel.name])),
      // A session whose label cannot be read is recognized by its negotiated session ID.
      sessions: new Map(names.lacksLabels === true ? agreed : []),
    };
  }

  #controlOnce(names: Names): Promise<Listing> {
    const known = this.#controls.get(names);
    if (known !== undefined) return known;
    const control = this.#control(() => true);
    this.#controls.set(names, control);
    return control;
  }

  /** Lists the process's part. @param isAsked selects the tunnels to list, and to look up in the kernel */
  async #control(isAsked: (state: Listing["tunnels"][number]) => boolean): Promise<Listing> {
    const listing = await this.#process.list();
    const kernel = this.#kernel.open();
    const tunnels = listing.tunnels.filter(isAsked).map((state) => {
      const tunnel = wholeTunnel(state.tunnel);
      return { ...state, tunnel, isLost: kernel?.holds(tunnel) !== true };
    });
    return { ...listing, tunnels };
  }
}

function kindOf(op: Change["op"] | undefined): "tunnels" | "sessions" | "deletions" {
  if (op === "putTunnel") return "tunnels";
  return op === "putSession" ? "sessions" : "deletions";
}

/**
 * Applies each change whose previous step succeeded.
 * @param changes null: nothing to do
 * @param before the reply of each change's previous step
 */
async function applyNext(
  changes: readonly (Change | null)[],
  before: Replies,
  apply: (changes: readonly Change[]) => Promise<Replies>,
): Promise<Replies> {
  const replies = [...before];
  const open = changes.flatMap((change, index) => {
    const reply = before[index];
    const isOpen = change !== null && reply !== undefined && "result" in reply;
    return isOpen ? [{ change, index }] : [];
  });
  if (open.length === 0) return replies;
  const after = await apply(open.map(({ change }) => change));
  for (const [at, { index }] of open.entries()) replies[index] = after[at] ?? DONE;
  return replies;
}

const notGiven = (): Reply<null> => ({ error: { code: NoSocketError.CODE, message: "" } });
const noKernel = (): Reply<null> => ({ error: toWireError(new NoL2tpError()) });

/** Explains an EEXIST: a foreign kernel tunnel has the ID. */
function withOwner(reply: Reply<null>, tunnelId = 0): Reply<null> {
  if (!("error" in reply) || reply.error.code !== "EEXIST") return reply;
  return { error: toWireError(new NotOursError(foreignTunnel(tunnelId))) };
}

/** Explains why the kernel does not have a tunnel that the process has. */
function withRemedy(reply: Reply<null>, tunnel: Tunnel | undefined): Reply<null> {
  if (!("error" in reply)) return reply;
  const { tunnelId = 0, encapsulation } = tunnel ?? {};
  const { code } = reply.error;
  // A process of an earlier version gives the kernel UDP sockets only.
  const isRefused = code === "EPROTONOSUPPORT" && encapsulation === "IP";
  if (code !== NoSocketError.CODE && !isRefused) return reply;
  const message = `the datapath process did not create kernel tunnel ${tunnelId}: the process may be older than the agent; stop the process when an interruption is acceptable, and the agent starts the new version`;
  return { error: toWireError(new NoSocketError(message)) };
}

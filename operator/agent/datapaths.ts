/** Both datapaths of a node: the kernel's own L2TP, where it has one, and the userspace process. */
import type { Change, Listing } from "../../datapath/datapath.ts";
import type { Names } from "../../datapath/kernel/adopt.ts";
import { KernelDatapath, type KernelObjects } from "../../datapath/kernel/kernel.ts";
import { NoL2tpError } from "../../datapath/kernel/l2tp-netlink.ts";
import {
  isKernelL2tpLoaded,
  type KernelSupport,
  probeKernel,
  withoutKernel,
} from "../../datapath/kernel/support.ts";
import { type DatapathClient, isAbsent } from "../../datapath/userspace/client.ts";
import { isControlHalf, wholeName } from "../../model/halves.ts";
import type { Datapath } from "../../model/model.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import { applyHandingOver } from "./hand-over.ts";

/** Modules may be installed while we run. */
const PROBE_AGAIN_MS = 60_000;
const NOTHING: Listing = { tunnels: [], sessions: [] };

export class Datapaths {
  readonly userspace: DatapathClient;
  #kernel: KernelDatapath | null = null;
  #support: KernelSupport | null = null;
  #probeAt = 0;
  /** A socket that the kernel was given has been closed. */
  #isLettingGo = false;

  constructor(userspace: DatapathClient) {
    this.userspace = userspace;
  }

  close(): void {
    this.userspace.close();
    this.#kernel?.close();
  }

  /** What the kernel can do. Looks again now and then for what it could not. */
  async support(): Promise<KernelSupport> {
    const now = performance.now();
    const lacks =
      this.#support === null || Object.values(this.#support).some((why) => why !== null);
    if (lacks && now >= this.#probeAt) {
      this.#probeAt = now + PROBE_AGAIN_MS;
      this.#support = await probeKernel();
    }
    return this.#support ?? withoutKernel("nobody has looked what the kernel can do");
  }

  /**
   * All that is programmed. Changes refer to what was listed last.
   * @param trustsSignalling a session in the kernel without its label is known by what was agreed
   * on with the peer
   */
  list(names: Names, trustsSignalling = false): Promise<Listing> {
    return this.#all((kernel, held, userspace) => {
      const signalled = trustsSignalling ? agreedSessions(userspace) : [];
      return kernel.list({ ...names, sessions: new Map([...signalled, ...names.sessions]), held });
    });
  }

  /** The same for the curious, at any time. */
  look(names: Names): Promise<Listing> {
    return this.#all((kernel, held) => kernel.look({ ...names, held }));
  }

  /** All that the kernel has, whoever made it. */
  kernelObjects(): KernelObjects {
    return this.#openKernel()?.objects() ?? { tunnels: [], sessions: [] };
  }

  /** One session, where its own datapath has it. */
  async find({ session, tunnel }: ResolvedSession): Promise<Listing> {
    if (tunnel.datapath === "Userspace") return this.userspace.list([session.key]);
    return this.#openKernel()?.find(session, tunnel.tunnelId) ?? NOTHING;
  }

  /** A reply for each change, in order. */
  async apply(datapath: Datapath, changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    if (datapath === "Userspace") {
      this.#isLettingGo ||= changes.some(
        (change) => change.op === "deleteTunnel" && isControlHalf(change.name),
      );
      const apply = (some: readonly Change[]) => this.userspace.apply(some);
      return applyHandingOver(changes, apply, () => this.#openKernel());
    }
    const kernel = this.#openKernel();
    if (kernel === null) throw new NoL2tpError();
    const isLettingGo = this.#isLettingGo;
    this.#isLettingGo = false;
    return kernel.apply(changes, isLettingGo);
  }

  async #all(
    listKernel: (
      kernel: KernelDatapath,
      held: ReadonlyMap<number, string>,
      userspace: Listing,
    ) => Listing,
  ): Promise<Listing> {
    const userspace = await this.#listUserspace();
    const opened = this.#openKernel();
    const tunnels = userspace.tunnels.map((state) =>
      state.tunnel.handsOver ? { ...state, isLost: opened?.holds(state.tunnel) !== true } : state,
    );
    const held = new Map(
      tunnels.flatMap(({ tunnel, isLost }) =>
        isLost === false ? [[tunnel.tunnelId, wholeName(tunnel.name)] as const] : [],
      ),
    );
    const kernel = opened === null ? NOTHING : listKernel(opened, held, userspace);
    return {
      ...userspace,
      tunnels: [...tunnels, ...kernel.tunnels],
      sessions: [...userspace.sessions, ...kernel.sessions],
    };
  }

  async #listUserspace(): Promise<Listing> {
    try {
      return await this.userspace.list();
    } catch (error) {
      // Nobody has needed it yet.
      if (isAbsent(error)) return NOTHING;
      throw error;
    }
  }

  #openKernel(): KernelDatapath | null {
    if (this.#kernel === null && isKernelL2tpLoaded()) this.#kernel = new KernelDatapath();
    return this.#kernel;
  }
}

/**
 * The keys of the sessions that control connections of this node have established, by session ID.
 */
function agreedSessions({ sessions }: Listing): [number, string][] {
  return sessions.flatMap(({ session, control }): [number, string][] =>
    control?.established && isControlHalf(session.key)
      ? [[control.established.sessionId, wholeName(session.key)]]
      : [],
  );
}

/** The node's kernel L2TP, shared by its datapaths: opened when it is loaded, and listed once for all of them. */
import type { KernelSupport } from "../../model/datapath.ts";
import { EMPTY_LISTING, type Listing, type Names } from "../datapath.ts";
import { type Claims, NO_CLAIMS } from "./adopt.ts";
import { KernelDatapath } from "./kernel.ts";
import { isKernelL2tpLoaded, probeKernel, withoutKernel } from "./support.ts";

/** Modules may be installed while the agent runs. */
const PROBE_AGAIN_MS = 60_000;

/** Our tunnels and sessions in the kernel, and the part that other datapaths claim. */
export interface Claimed {
  readonly listing: Listing;
  readonly claims: Claims;
}

export class KernelL2tp {
  #kernel: KernelDatapath | null = null;
  #support: KernelSupport | null = null;
  #probeAt = 0;
  #claimant: (names: Names) => Promise<Claims> = async () => NO_CLAIMS;
  /** Listings by their `names`: all datapaths pass the same object in one reconcile. */
  readonly #listings = new WeakMap<Names, Promise<Claimed>>();

  /** @param claims returns the tunnels that another datapath created from its sockets */
  claim(claims: (names: Names) => Promise<Claims>): void {
    this.#claimant = claims;
  }

  /** Returns null if the kernel has not loaded its L2TP. */
  open(): KernelDatapath | null {
    if (this.#kernel === null && isKernelL2tpLoaded()) this.#kernel = new KernelDatapath();
    return this.#kernel;
  }

  close(): void {
    this.#kernel?.close();
  }

  /** Returns what the kernel supports. Probes missing features again every `PROBE_AGAIN_MS`. */
  async support(): Promise<KernelSupport> {
    const now = performance.now();
    const lacks =
      this.#support === null || Object.values(this.#support).some((why) => why !== null);
    if (lacks && now >= this.#probeAt) {
      this.#probeAt = now + PROBE_AGAIN_MS;
      this.#support = await probeKernel();
    }
    return this.#support ?? withoutKernel("kernel support has not been probed yet");
  }

  /** Lists the kernel. Changes refer to the last listing. */
  list(names: Names): Promise<Claimed> {
    return this.#once(names, (kernel, claims) => kernel.list(names, claims));
  }

  /** As `list`, but changes still refer to the listing before. */
  peek(names: Names): Promise<Claimed> {
    return this.#once(names, (kernel, claims) => kernel.peek(names, claims));
  }

  #once(
    names: Names,
    listKernel: (kernel: KernelDatapath, claims: Claims) => Listing,
  ): Promise<Claimed> {
    const known = this.#listings.get(names);
    if (known !== undefined) return known;
    const listing = this.#claimant(names).then((claims) => {
      const kernel = this.open();
      return { claims, listing: kernel === null ? EMPTY_LISTING : listKernel(kernel, claims) };
    });
    this.#listings.set(names, listing);
    return listing;
  }
}

/** Returns the claimed part of the listing, or the rest. */
export function claimedPart({ listing, claims }: Claimed, isClaimed: boolean): Listing {
  const { tunnels, sessions, ...rest } = listing;
  const claimed = tunnels.filter(({ tunnel }) => claims.tunnels.has(tunnel.tunnelId));
  const names = new Set(claimed.map(({ tunnel }) => tunnel.name));
  return {
    ...rest,
    tunnels: tunnels.filter(({ tunnel }) => names.has(tunnel.name) === isClaimed),
    sessions: sessions.filter(({ session }) => names.has(session.tunnel) === isClaimed),
  };
}

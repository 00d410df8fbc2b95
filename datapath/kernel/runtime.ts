/** The kernel datapath, as the agent uses it: static tunnels in the kernel's L2TP. */
import type { Session, Tunnel } from "../../model/model.ts";
import type { Reply } from "../../rpc/errors.ts";
import {
  type Change,
  type Datapath,
  type DumpEntry,
  EMPTY_LISTING,
  type Listing,
  type Names,
} from "../datapath.ts";
import { dumpRows } from "./dump.ts";
import { NoL2tpError } from "./l2tp-netlink.ts";
import { claimedPart, type KernelL2tp } from "./shared.ts";
import { KERNEL } from "./traits.ts";

export class KernelRuntime implements Datapath {
  readonly traits = KERNEL;
  readonly #kernel: KernelL2tp;

  constructor(kernel: KernelL2tp) {
    this.#kernel = kernel;
  }

  async list(names: Names): Promise<Listing> {
    return claimedPart(await this.#kernel.list(names), false);
  }

  async peek(names: Names): Promise<Listing> {
    return claimedPart(await this.#kernel.peek(names), false);
  }

  async find(session: Session, { tunnelId }: Tunnel): Promise<Listing> {
    return this.#kernel.open()?.find(session, tunnelId) ?? EMPTY_LISTING;
  }

  async apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    const kernel = this.#kernel.open();
    if (kernel === null) throw new NoL2tpError();
    return kernel.apply(changes);
  }

  /** Returns all tunnels and sessions in the kernel, including those of other datapaths. */
  dump(listing: Listing): readonly DumpEntry[] {
    const objects = this.#kernel.open()?.objects();
    return objects === undefined ? [] : dumpRows(listing, objects);
  }

  close(): void {
    this.#kernel.close();
  }
}

/** All datapaths of a node as one. */
import type { Change, Datapath, DumpEntry, Listing, Names } from "../../datapath/datapath.ts";
import { KernelL2tp } from "../../datapath/kernel/shared.ts";
import { DATAPATHS, traitsOf } from "../../datapath/registry/datapaths.ts";
import type { DatapathClient } from "../../datapath/userspace/client.ts";
import type { DeviceKind, KernelSupport } from "../../model/datapath.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";

export class Datapaths {
  readonly process: DatapathClient;
  readonly #kernel = new KernelL2tp();
  #opened: Promise<readonly Datapath[]> | null = null;

  constructor(process: DatapathClient) {
    this.process = process;
  }

  close(): void {
    this.process.close();
    void this.#opened?.then((datapaths) => {
      for (const datapath of datapaths) datapath.close();
    });
  }

  /** What the kernel can do. */
  support(): Promise<KernelSupport> {
    return this.#kernel.support();
  }

  /** All that is programmed. Changes refer to what was listed last. */
  list(names: Names): Promise<Listing> {
    return this.#merge((datapath) => datapath.list(names));
  }

  /** The same for the curious, at any time. */
  peek(names: Names): Promise<Listing> {
    return this.#merge((datapath) => datapath.peek(names));
  }

  /** All that there is, ours or not. */
  async dump(names: Names): Promise<DumpEntry[]> {
    const listing = await this.peek(names);
    const datapaths = await this.#open();
    return datapaths.flatMap((datapath) => datapath.dump(ofKind(listing, datapath.traits.device)));
  }

  /** One session, where its own datapath has it. */
  async find({ session, tunnel }: Pick<ResolvedSession, "session" | "tunnel">): Promise<Listing> {
    return (await this.#of(tunnel.datapath)).find(session, tunnel);
  }

  /** A reply for each change, in order. */
  async apply(datapath: string, changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    return (await this.#of(datapath)).apply(changes);
  }

  async #merge(ask: (datapath: Datapath) => Promise<Listing>): Promise<Listing> {
    // Where a session goes from one to another, and both list it, the one that is tried first counts.
    const listings = await Promise.all((await this.#open()).toReversed().map(ask));
    const [turns] = listings.flatMap((listing) => listing.turns ?? []);
    return {
      tunnels: listings.flatMap(({ tunnels }) => tunnels),
      sessions: listings.flatMap(({ sessions }) => sessions),
      ...(turns === undefined ? {} : { turns }),
    };
  }

  async #of(name: string): Promise<Datapath> {
    const datapath = (await this.#open()).find(({ traits }) => traits.name === name);
    if (datapath === undefined) throw new RangeError(`no datapath ${name}`);
    return datapath;
  }

  #open(): Promise<readonly Datapath[]> {
    const shared = { process: this.process, kernel: this.#kernel };
    this.#opened ??= Promise.all(DATAPATHS.map(({ open }) => open(shared)));
    return this.#opened;
  }
}

/** The part of the listing in datapaths that make devices of that kind. */
function ofKind({ tunnels, sessions, ...rest }: Listing, kind: DeviceKind): Listing {
  const isOf = (datapath: string) => traitsOf(datapath).device === kind;
  return {
    ...rest,
    tunnels: tunnels.filter(({ tunnel }) => isOf(tunnel.datapath)),
    sessions: sessions.filter(({ datapath }) => isOf(datapath)),
  };
}

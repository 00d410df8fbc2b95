/** Removes the finalizers of all objects before the uninstallation, so that the objects can be deleted. */
import pMap from "p-map";
import type { Logger } from "pino";
import { FINALIZER } from "../api/placement.ts";
import { type L2tpObject, pathOf, SESSIONS, TUNNELS } from "../api/types.ts";
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import { collectionPath } from "../kube/object.ts";
import { nameOf, release } from "./write.ts";

const WRITES_AT_ONCE = 16;
const PAGE = "500";

interface Page {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly L2tpObject[];
}

/** Removes the controller's finalizer from every object. @returns the number of objects that had it */
export async function releaseAll(client: KubeClient, log: Logger): Promise<number> {
  let count = 0;
  for (const resource of [SESSIONS, TUNNELS]) {
    let from: string | undefined;
    do {
      const query = { limit: PAGE, continue: from };
      const page = await client.get<Page>(collectionPath(resource), query);
      const held = page.items.filter(({ metadata }) => metadata.finalizers?.includes(FINALIZER));
      await pMap(held, (object) => releaseOne(client, object), { concurrency: WRITES_AT_ONCE });
      for (const object of held) log.debug({ object: nameOf(object) }, "finalizer removed");
      count += held.length;
      from = page.metadata.continue === "" ? undefined : page.metadata.continue;
    } while (from !== undefined);
  }
  return count;
}

/** Retries conflicts, because agents still write to the objects. Other finalizers stay. */
async function releaseOne(client: KubeClient, listed: L2tpObject): Promise<void> {
  let object = listed;
  for (;;) {
    try {
      return await release(client, object);
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return;
      if (!(error instanceof KubeError && error.isConflict)) throw error;
    }
    const now = await find(client, object);
    if (now === undefined || now.metadata.uid !== listed.metadata.uid) return;
    object = now;
  }
}

async function find(client: KubeClient, object: L2tpObject): Promise<L2tpObject | undefined> {
  try {
    return await client.get<L2tpObject>(pathOf(object));
  } catch (error) {
    if (error instanceof KubeError && error.isNotFound) return undefined;
    throw error;
  }
}

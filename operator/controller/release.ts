/** Before uninstalling: takes the controller's hold off every object, so that each can be deleted. */
import pMap from "p-map";
import type { Logger } from "pino";
import { FINALIZER } from "../api/placement.ts";
import { type L2tpObject, SESSIONS, TUNNELS } from "../api/types.ts";
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

/** @returns how many objects were held */
export async function releaseAll(client: KubeClient, log: Logger): Promise<number> {
  let count = 0;
  for (const resource of [SESSIONS, TUNNELS]) {
    let from: string | undefined;
    do {
      const query = { limit: PAGE, continue: from };
      const page = await client.get<Page>(collectionPath(resource), query);
      const held = page.items.filter(({ metadata }) => metadata.finalizers?.includes(FINALIZER));
      await pMap(held, (object) => releaseOne(client, object), { concurrency: WRITES_AT_ONCE });
      for (const object of held) log.debug({ object: nameOf(object) }, "released");
      count += held.length;
      from = page.metadata.continue === "" ? undefined : page.metadata.continue;
    } while (from !== undefined);
  }
  return count;
}

async function releaseOne(client: KubeClient, object: L2tpObject): Promise<void> {
  try {
    // By the object as it is then, not as it was listed: agents still write.
    const { resourceVersion: _, ...metadata } = object.metadata;
    await release(client, { ...object, metadata } as L2tpObject);
  } catch (error) {
    if (!(error instanceof KubeError && error.isNotFound)) throw error;
  }
}

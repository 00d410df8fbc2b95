/** The same with tunnels in the kernel, which `datapath: Auto` takes here. */
import "../netns/chained.test.ts";

import { testGroups, testHeaders } from "../harness/transparency.ts";

testHeaders({ datapath: "Kernel" }, true);
testGroups({ datapath: "Kernel" }, true);

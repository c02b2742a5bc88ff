// For pages that show a pair with what people marked in it.
import { showMarked } from "../marked.js";

showMarked(document);

import "./share.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { startLanguages } from "../i18n";
import { SharePage } from "./SharePage";

await startLanguages();
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <SharePage />
    </StrictMode>,
  );
}

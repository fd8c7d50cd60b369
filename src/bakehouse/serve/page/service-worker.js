/**
 * Keeps the page's own files, so that it opens while its server is away. What the server answers is never kept:
 * only the document and built files are. `stamp.mjs` fills in VERSION and FILES.
 */
const VERSION = "6bade84048bef3e0";
const FILES = ["./icon.svg","./assets/Accordion-aRu9JIIA.js","./assets/AccordionChevron-CbK7Fzon.js","./assets/ActionIcon-Bzv1fVHQ.js","./assets/Badge-gckrGlf-.js","./assets/BlindTest-CAn4EN-k.js","./assets/Box-BTwsURPu.js","./assets/BoxStage-Ct_3jocT.js","./assets/BoxStage-D4vxCIe_.js","./assets/Candidates-DW-v6sYy.js","./assets/CaptionEditor-BEDWGaFl.js","./assets/Card-CNtt2uEh.js","./assets/CheckIcon-iofJqUYl.js","./assets/Checkbox-Dgbs6YIk.js","./assets/Code-DcKq5gRo.js","./assets/Collapse-Bvvx4bl-.js","./assets/ColorSchemeMenu-3qbInXo3.js","./assets/CompareRuns-DkyxQp_c.js","./assets/CompareRuns-Dn-s8QNA.js","./assets/CropTab-Ct24HHr0.js","./assets/DatasetPage-D2d9Z0ZH.js","./assets/Datasets-bG2UzWKh.js","./assets/Duplicates-DxxCtgRo.js","./assets/EditRecipe-CeTdzpQV.js","./assets/ExtendFrame-Cj7umklu.js","./assets/ExtendFrame-DF7oBRtY.js","./assets/FocusTrap-CrpSPfNR.js","./assets/Gallery-CzSPpOny.js","./assets/Generate-B2OYLuNK.js","./assets/Home-G0DHg-YL.js","./assets/IconAdjustments-Q_YPOAdS.js","./assets/IconAdjustmentsHorizontal-DcqGh8EW.js","./assets/IconArrowBackUp-BMizkv40.js","./assets/IconArrowLeft-ByPafxeD.js","./assets/IconArrowRight-BY7N2IVL.js","./assets/IconBrush-i3lJpRMi.js","./assets/IconChartBar-DgQRwxhz.js","./assets/IconDice5-CANMV9XQ.js","./assets/IconDots-CZkklVW0.js","./assets/IconDownload-BgHFSFXh.js","./assets/IconExternalLink-CPkEg4yo.js","./assets/IconKey-Bpb1Xyly.js","./assets/IconPencil-oYThL3Pq.js","./assets/IconPhoto-BMAAT8DP.js","./assets/IconPhotoStar-D8yGVLZB.js","./assets/IconPlayerStop-CxGhu5ha.js","./assets/IconPlus-38KSybkw.js","./assets/IconScale-Dow4Aiq9.js","./assets/IconSearch-DtfEmJEO.js","./assets/IconShare2-CjA5WlCi.js","./assets/IconSparkles-DLuOkYI_.js","./assets/IconStack2-CvKoVhQo.js","./assets/IconTrash-BAr8cwBK.js","./assets/IconUpload-CSQqy3ny.js","./assets/IconWand-BsOZz4bn.js","./assets/IconX-Bdjhl3FV.js","./assets/InlineInput-stn33HFM.js","./assets/Input-BwHhUlyp.js","./assets/InputBase-D69UmGkI.js","./assets/List-DHGlu4Lx.js","./assets/LiveJob-Cw308_Df.js","./assets/LossChart-BvMVYbOZ.js","./assets/LossCurves-nFLXIFHG.js","./assets/Mantine.context-COk8C2gQ.js","./assets/MaskEditor-BpfNt0bH.js","./assets/MaskEditor-C2627ry1.js","./assets/MaskTab-DhmdJlQ0.js","./assets/Menu-UJdbEBuH.js","./assets/Modal-CRgUyIs3.js","./assets/Models-B10b_23P.js","./assets/MultiSelect-761EGuom.js","./assets/NativeScrollArea-0vhdLShe.js","./assets/NewSlider-D-eqBSiw.js","./assets/NewSubject-Dmy6kvyg.js","./assets/NumberInput-BOwifScw.js","./assets/OptionalPortal-C0_Gv_PX.js","./assets/PageHead-BnMXO_i4.js","./assets/PictureViewer-DHqSV2XZ.js","./assets/PillsInput-B7t7-Fdr.js","./assets/PlanStep-ByjKpr8O.js","./assets/Publish-DQ9-0vjH.js","./assets/RadioIcon-B5lQU1aK.js","./assets/RecipeForm-BSDhCzQ_.js","./assets/RecipeForm-CZH6ENdZ.js","./assets/RunRow-yCajXdLO.js","./assets/SegmentedControl-CfyKsBC5.js","./assets/Select-BSbmmQkz.js","./assets/SendTo-Dx2qdSvi.js","./assets/Settings-D2ApZlCj.js","./assets/Shares-BmcMhxsg.js","./assets/ShowAsCode-Bxy3Xat8.js","./assets/SimpleGrid--y9lGqtt.js","./assets/Slider-0WAz4B7o.js","./assets/SliderPage-HeijWS6b.js","./assets/Sliders-B2nYxHom.js","./assets/States-BwPVWUrz.js","./assets/Switch-BTWTfdMC.js","./assets/Table-Cliw7Q1R.js","./assets/TagsInput-B6thB-uW.js","./assets/TaskProgress-B604mVCJ.js","./assets/TemplatePicker-C0Xqfonj.js","./assets/Text-Q3n_UDHC.js","./assets/TextInput-BlL1ZhzO.js","./assets/Textarea-JBqtgf3f.js","./assets/Tooltip-B9RZrR00.js","./assets/Training-D53_jY9X.js","./assets/Training-JNzwzkFR.js","./assets/Trainings-C24ScXi4.js","./assets/Triggers-Bmq4onAH.js","./assets/Usage-CpNUp3jl.js","./assets/VirtualGrid-zJK_obvl.js","./assets/VisuallyHidden-BfyIlDZE.js","./assets/clamp-BVhf2JRQ.js","./assets/client-8wHFP7OY.js","./assets/client-B5PRiVZd.js","./assets/code-J6W4A_jF.js","./assets/create-scoped-keydown-handler-BfSX8yW3.js","./assets/createReactComponent-DPKH971r.js","./assets/draft-DzsFTqAt.js","./assets/duration-B6pJQtbB.js","./assets/events-CgeS3H4U.js","./assets/files-iFC7zr3X.js","./assets/get-contrast-color-CS1b_Pps.js","./assets/get-env-MimdSsZv.js","./assets/get-floating-position-O9I49_5q.js","./assets/get-option-by-label-B-Kn31aw.js","./assets/i18n-DSzilO2w.js","./assets/index-CD34fZrF.css","./assets/index-Czl9hbja.js","./assets/inter-latin-wght-normal-Dx4kXJAl.woff2","./assets/link-BYT83Hd7.js","./assets/matchContext-CvEE0xqg.js","./assets/mutation-66igp3qr.js","./assets/names-CRKrbDla.js","./assets/noop-mXPS5vjY.js","./assets/notifications.store-DReCf1zi.js","./assets/pages-BqSrv4SG.js","./assets/preload-helper-BQUUbbNx.js","./assets/pt-BAyhBrVY.js","./assets/px-Co8eBD30.js","./assets/queries-BDrc3qRn.js","./assets/react-dom-BPn6OHbi.js","./assets/retryer-JmgOylNA.js","./assets/share-Bn5TIDIt.css","./assets/share-DpVXNPFc.js","./assets/smoothed-CnsZ1jie.css","./assets/smoothed-b_g6DPkI.js","./assets/use-debounced-value-DD9uLp-P.js","./assets/use-hotkeys-ByGLNuMq.js","./assets/use-mantine-color-scheme-D264ewzh.js","./assets/use-media-query-D4Gl1PTS.js","./assets/use-resize-observer-Ca3wfMCx.js","./assets/useBases-DpOcH_Y3.js","./assets/useFileDrop-B4LiZeIL.js","./assets/useMatch-DkpivTpX.js","./assets/useMutation-CzX7lsAJ.js","./assets/useNavigate-C1-1XOXX.js","./assets/useParams-BQxoHbHV.js","./assets/useQueries-DXRLHUTy.js","./assets/useQuery-BBKl8e2P.js","./assets/useRecipePlan-Dat7O4_X.js","./assets/useRouter-9iKSPtD1.js","./assets/useSearch-DeA_fogz.js","./assets/useTranslation-CcDF_5qg.js","./assets/useUndo-BCDEki4a.js","./assets/useUpload-BGrE66VV.js","./assets/zh-SRECFFKE.js"];
const CACHE = `bakehouse-${VERSION}`;
const PATIENCE_MS = 4000;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", ...FILES])).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const forget = (names) => Promise.all(names.filter((name) => name.startsWith("bakehouse-") && name !== CACHE).map((name) => caches.delete(name)));
  event.waitUntil(caches.keys().then(forget).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const here = new URL("./", self.location.href);
  if (request.method !== "GET" || url.origin !== here.origin) return;
  if (request.mode === "navigate" && url.pathname === here.pathname) event.respondWith(documentOf(request));
  else if (url.pathname.startsWith(`${here.pathname}assets/`) || url.pathname === `${here.pathname}icon.svg`) event.respondWith(fileOf(request));
});

/** The server's own document; the kept one if it does not answer in time. */
async function documentOf(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match("./");
  try {
    const answer = await fetch(request, kept ? { signal: AbortSignal.timeout(PATIENCE_MS) } : {});
    if (answer.ok) await cache.put("./", answer.clone());
    return answer.status >= 500 && kept ? kept : answer;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

/** A built file: its name holds a hash of its contents, so what is kept is what the server has. */
async function fileOf(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}

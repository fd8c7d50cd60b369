import { createHashHistory, createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { ErrorState } from "../components/States";
import { Shell } from "./Shell";

const root = createRootRoute({ component: Shell, notFoundComponent: () => <ErrorState error={null} /> });
const page = <P extends string>(path: P, load: () => Promise<Record<string, any>>, name: string) =>
  createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(load, name) });

const routes = [
  page("/", () => import("../pages/Home"), "Home"),
  page("/generate", () => import("../pages/generate/Generate"), "Generate"),
  page("/gallery", () => import("../pages/gallery/Gallery"), "Gallery"),
  page("/new", () => import("../pages/newSubject/NewSubject"), "NewSubject"),
  page("/datasets", () => import("../pages/datasets/Datasets"), "Datasets"),
  page("/datasets/$name", () => import("../pages/datasets/DatasetPage"), "DatasetPage"),
  page("/trainings", () => import("../pages/trainings/Trainings"), "Trainings"),
  page("/trainings/$name", () => import("../pages/trainings/Training"), "Training"),
  page("/shares", () => import("../pages/shares/Shares"), "Shares"),
  page("/trainings/$name/publish", () => import("../pages/publish/Publish"), "Publish"),
  page("/sliders", () => import("../pages/sliders/Sliders"), "Sliders"),
  page("/sliders/-/new", () => import("../pages/sliders/NewSlider"), "NewSlider"),
  page("/sliders/$name", () => import("../pages/sliders/SliderPage"), "SliderPage"),
  page("/models", () => import("../pages/models/Models"), "Models"),
  page("/compare", () => import("../pages/compare/CompareRuns"), "CompareRuns"),
  page("/usage", () => import("../pages/Usage"), "Usage"),
  page("/settings", () => import("../pages/Settings"), "Settings"),
];

// Behind `#`: an address of the page is never one of the server's APIs.
export const router = createRouter({
  routeTree: root.addChildren(routes),
  history: createHashHistory(),
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultErrorComponent: ({ error }) => <ErrorState error={error} />,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

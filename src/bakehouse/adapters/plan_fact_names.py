"""Facts about the adapted modules that settings may need: named here, found out by the plan."""

from bakehouse.core.setting_needs import PlanFact

ON_UNET = PlanFact("adapter.on_unet", "a module of the UNet in the adapter")
ON_TEXT = PlanFact("adapter.on_text", "a module of the text encoder in the adapter")
ON_KERNELS = PlanFact("adapter.on_kernels", "a 3x3 convolution in the adapter")
ON_NORMS = PlanFact("adapter.on_norms", "a norm in the adapter")
EXCLUDE_MATCHES = PlanFact("adapter.excluded", "a module that matches a pattern of exclude")
DIMS_MATCH = PlanFact("adapter.sized", "a module that matches a pattern of dims")

"""What settings may need of the modules that an adapter sits on: named here, found out by the plan."""

from bakehouse.core.setting_needs import Fact

ON_UNET = Fact("adapter.on_unet", "a module of the UNet in the adapter")
ON_TEXT = Fact("adapter.on_text", "a module of the text encoder in the adapter")
ON_KERNELS = Fact("adapter.on_kernels", "a 3x3 convolution in the adapter")
ON_NORMS = Fact("adapter.on_norms", "a norm in the adapter")
EXCLUDED = Fact("adapter.excluded", "a module that matches")
SIZED = Fact("adapter.sized", "a module that matches")

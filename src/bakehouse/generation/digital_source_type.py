"""IPTC's mark in an image file that a trained model has made the image.

IPTC's Digital Source Type, in XMP: https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia. It is not
signed, and whoever wants to can remove it: it is a label for honest use, no proof.
"""

from __future__ import annotations

from typing import Any

from PIL.PngImagePlugin import PngInfo

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="bakehouse"
 Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def with_source_type(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return Pillow's options of saving an image with the note added.

    Args:
        kind: Pillow's name of the format: PNG, JPEG or WEBP.
        options: for `Image.save`.
    """
    if kind != "PNG":
        return {**options, "xmp": _XMP.encode()}
    chunks = options.get("pnginfo") or PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", _XMP)
    return {**options, "pnginfo": chunks}

using System.Globalization;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>The common style of charts, and their export as SVG.</summary>
internal static class Charts
{
    private const int Width = 800, PlotHeight = 420, LegendRowHeight = 24, LegendSymbol = 44, FontSize = 12;

    /// <summary>Fonts of one width class; the first that is installed shows the text.</summary>
    private const string Fonts = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif";

    /// <summary>Stand-ins that become the page's own colours, so that a chart follows light and dark.</summary>
    public static readonly OxyColor Ink = OxyColor.FromRgb(1, 2, 3), Grid = OxyColor.FromRgb(4, 5, 6);

    /// <summary>Okabe and Ito's colours, which the colour-blind can tell apart, in shades that show on white and on black.</summary>
    private static readonly OxyColor[] Palette =
    [
        OxyColor.FromRgb(0, 114, 178), OxyColor.FromRgb(213, 94, 0), OxyColor.FromRgb(0, 158, 115), OxyColor.FromRgb(204, 121, 167),
        OxyColor.FromRgb(200, 145, 0), OxyColor.FromRgb(70, 165, 220), OxyColor.FromRgb(140, 110, 90), OxyColor.FromRgb(130, 130, 140),
    ];

    private static readonly MarkerType[] Markers = [MarkerType.Circle, MarkerType.Square, MarkerType.Triangle, MarkerType.Diamond];

    /// <summary>The colour of a series.</summary>
    public static OxyColor Color(int i) => Palette[i % Palette.Length];

    /// <summary>The mark of a series; series with one colour have different marks.</summary>
    public static MarkerType Marker(int i) => Markers[(i + i / Palette.Length) % Markers.Length];

    /// <summary>A line with marks.</summary>
    public static LineSeries Line(string title, int i) => new()
    {
        Title = title,
        Color = Color(i),
        StrokeThickness = 1.5,
        LineStyle = i < Palette.Length ? LineStyle.Solid : LineStyle.Dash,
        MarkerType = Marker(i),
        MarkerSize = 3.5,
        MarkerFill = Color(i),
    };

    /// <summary>Marks without a line; hollow ones where no colour fills them.</summary>
    public static LineSeries Points(int i, MarkerType marker, OxyColor fill, double size = 4) =>
        new() { LineStyle = LineStyle.None, Color = OxyColors.Transparent, MarkerType = marker, MarkerSize = size, MarkerFill = fill, MarkerStroke = Color(i), MarkerStrokeThickness = 1.2, RenderInLegend = false };

    /// <summary>A thin line without marks or a title.</summary>
    public static LineSeries Thin(int i, LineStyle style) => new() { Color = OxyColor.FromAColor(130, Color(i)), StrokeThickness = 0.8, LineStyle = style, RenderInLegend = false };

    /// <summary>An empty chart with an axis below and one to the left.</summary>
    public static PlotModel Plot(Axis bottom, string left)
    {
        var plot = new PlotModel { DefaultFont = Fonts, DefaultFontSize = FontSize, TextColor = Ink, PlotAreaBorderColor = Grid, Background = OxyColors.Transparent, Culture = CultureInfo.InvariantCulture };
        Add(plot, bottom, LineStyle.Solid);
        Add(plot, new LinearAxis { Position = AxisPosition.Left, Title = left, MinimumPadding = 0.06, MaximumPadding = 0.08 }, LineStyle.Solid);
        plot.Legends.Add(new Legend
        {
            LegendPosition = LegendPosition.BottomLeft,
            LegendPlacement = LegendPlacement.Outside,
            LegendOrientation = LegendOrientation.Horizontal,
            LegendTextColor = Ink,
            LegendItemSpacing = 12,
            LegendLineSpacing = 8,
            LegendMargin = 6,
        });
        return plot;
    }

    /// <summary>Adds an axis.</summary>
    public static void Add(PlotModel plot, Axis axis, LineStyle grid)
    {
        axis.MajorGridlineStyle = grid;
        axis.MajorGridlineThickness = 0.6;
        axis.MinorTickSize = 0;
        axis.AxisTitleDistance = 12;
        axis.MajorGridlineColor = axis.TicklineColor = axis.MinorTicklineColor = Grid;
        plot.Axes.Add(axis);
    }

    /// <summary>A chart to stand in a page: no size of its own, the page's colours.</summary>
    /// <param name="plot">The chart.</param>
    /// <param name="id">Sets its clip paths apart from those of other charts.</param>
    /// <param name="label">The accessible name.</param>
    public static string Inline(PlotModel plot, string id, string label) => Svg(plot, isDocument: false)
        .Replace("rgb(1,2,3)", "currentColor", StringComparison.Ordinal)
        .Replace("rgb(4,5,6)", "var(--grid)", StringComparison.Ordinal)
        .Replace("clipPath", $"clipPath-{id}-", StringComparison.Ordinal)
        .Replace($"<clipPath-{id}- ", "<clipPath ", StringComparison.Ordinal)
        .Replace($"</clipPath-{id}->", "</clipPath>", StringComparison.Ordinal)
        .Replace($"<svg width=\"{Width}\" height=\"{Height(plot)}\"", $"<svg viewBox=\"0 0 {Width} {Height(plot)}\" role=\"img\" aria-label=\"{label}\"", StringComparison.Ordinal);

    /// <summary>A chart as a file of its own, on white.</summary>
    public static string Document(PlotModel plot)
    {
        plot.Background = OxyColors.White;
        return Svg(plot, isDocument: true).Replace("rgb(1,2,3)", "rgb(0,0,0)", StringComparison.Ordinal).Replace("rgb(4,5,6)", "rgb(205,205,205)", StringComparison.Ordinal);
    }

    private static string Svg(PlotModel plot, bool isDocument) =>
        new SvgExporter { Width = Width, Height = Height(plot), IsDocument = isDocument, UseVerticalTextAlignmentWorkaround = true, TextMeasurer = new TextSizes() }.ExportToString(plot);

    /// <summary>The height, with a row of the legend for every line that its entries fill.</summary>
    private static int Height(PlotModel plot)
    {
        var sizes = new TextSizes();
        double row = 0;
        int rows = 1;
        foreach (Series series in plot.Series.Where(series => series is { Title: not null, RenderInLegend: true }))
        {
            double width = sizes.MeasureText(series.Title, Fonts, FontSize, FontWeights.Normal).Width + LegendSymbol;
            rows += row > 0 && row + width > Width - 60 ? 1 : 0;
            row = row > 0 && row + width > Width - 60 ? width : row + width;
        }

        return PlotHeight + rows * LegendRowHeight;
    }

    /// <summary>
    /// Sizes of text, at least those of the widest of the usual fonts (Verdana, DejaVu Sans): the exporter does not know which one will show the chart, and
    /// text that is wider than it was measured is cut or lies on other text.
    /// </summary>
    private sealed class TextSizes : RenderContextBase
    {
        /// <summary>Widths and height in units of the font size.</summary>
        private const double Narrow = 0.46, Usual = 0.7, Wide = 1.0, Bold = 1.12, Height = 0.95;

        public override int ClipCount => 0;

        public override OxySize MeasureText(string text, string fontFamily, double fontSize, double fontWeight)
        {
            if (string.IsNullOrEmpty(text))
                return OxySize.Empty;
            double width = text.Sum(c => " .,:;'|!()[]ijlftrI".Contains(c, StringComparison.Ordinal) ? Narrow : "mwMW@%".Contains(c, StringComparison.Ordinal) || c >= 0x2E80 ? Wide : Usual);
            return new OxySize(width * fontSize * (fontWeight > FontWeights.Normal ? Bold : 1), Height * fontSize);
        }

        public override void DrawLine(IList<ScreenPoint> points, OxyColor stroke, double thickness, EdgeRenderingMode edgeRenderingMode, double[] dashArray, LineJoin lineJoin) => throw new NotSupportedException();

        public override void DrawPolygon(IList<ScreenPoint> points, OxyColor fill, OxyColor stroke, double thickness, EdgeRenderingMode edgeRenderingMode, double[] dashArray, LineJoin lineJoin) => throw new NotSupportedException();

        public override void DrawText(ScreenPoint p, string text, OxyColor fill, string fontFamily, double fontSize, double fontWeight, double rotation, HorizontalAlignment horizontalAlignment, VerticalAlignment verticalAlignment, OxySize? maxSize) => throw new NotSupportedException();

        public override void PushClip(OxyRect clippingRectangle) => throw new NotSupportedException();

        public override void PopClip() => throw new NotSupportedException();
    }
}
